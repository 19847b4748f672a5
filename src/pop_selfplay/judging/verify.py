"""Verify: no judge and no rubric. The boxed answer is compared with the reference's (method/answers.py)."""

from collections.abc import Callable, Sequence

from pop_selfplay.judging.base import Judge, ScoringMode
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.records import Candidate, Evaluation, Failure, Problem, Rubric


class Verify(ScoringMode):
    name = "verify"
    needs_rubric = False
    needs_boxed = True

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return 0

    async def score(
        self,
        judge: Judge,
        problem: Problem,
        rubric: Rubric | None,
        judged: Sequence[Candidate],
        group: Sequence[Candidate],
    ) -> list[Evaluation | Failure]:
        from pop_selfplay.method.answers import same_final_answer  # loads numpy, and the config must be read at once

        worst, best = SCORES
        return [
            Evaluation(
                candidate=candidate.index,
                score=best if same_final_answer(candidate.answer, problem.reference_answer) else worst,
            )
            for candidate in judged
        ]
