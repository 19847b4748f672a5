"""Anchor: every candidate against the one of median length, both rated from 0 to 10; the score is the mean lead."""

from collections.abc import Callable, Sequence

from pop_selfplay.judging.base import Judge, PromptFile
from pop_selfplay.judging.comparing import ComparingMode, evaluation_of, match_for, stand_ins
from pop_selfplay.method.parsing import Marks, Parsed, Rejection, parse_marks
from pop_selfplay.method.scoring import lead
from pop_selfplay.records import Candidate, Comparison, Evaluation, Failure, Problem, Rubric
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread


class Anchor(ComparingMode[Marks]):
    """A lead is in [−10, 10]; the anchor itself leads by 0."""

    name = "anchor"
    prompts = (PromptFile("anchor", frozenset({"problem", "rubric", "answer_a", "answer_b"})),)
    stop = "</rating_B>"
    tie = 0.0
    tokens = 160

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return 2 * (candidates - 1) + 2 * reference

    def parse(self, completion: str) -> Parsed[Marks] | Rejection:
        return parse_marks(completion)

    def both(self, as_a: Marks, as_b: Marks) -> float:
        return lead(as_a, as_b)

    async def score(
        self,
        judge: Judge,
        problem: Problem,
        rubric: Rubric | None,
        judged: Sequence[Candidate],
        group: Sequence[Candidate],
    ) -> list[Evaluation | Failure]:
        (middle,) = spread(group, 1)
        match, stand_in = match_for(judge, problem, rubric), stand_ins(judge, [middle, *judged])
        firsts = {stand_in[one.index].index: stand_in[one.index] for one in judged}
        scores = await together(self.compared(match, one, middle) for one in firsts.values())
        known = dict(zip(firsts, scores, strict=True))

        def against_anchor(one: Candidate) -> Comparison | Failure:
            score = known[stand_in[one.index].index]
            return score if isinstance(score, Failure) else Comparison(against=middle.index, score=score)

        return [evaluation_of(one, [against_anchor(one)]) for one in judged]
