"""Pairwise: every candidate against every other one, in both orders; the score is the mean win rate, in [0, 1]."""

from collections.abc import Callable, Sequence

from pop_selfplay.judging.base import Judge, PromptFile
from pop_selfplay.judging.comparing import ComparingMode, Match, evaluation_of, match_for, stand_ins
from pop_selfplay.method.parsing import Parsed, Rejection, Side, parse_better
from pop_selfplay.method.scoring import win
from pop_selfplay.records import Candidate, Comparison, Evaluation, Failure, Problem, Rubric
from pop_selfplay.tasks import together


class Pairwise(ComparingMode[Side]):
    name = "pairwise"
    prompts = (PromptFile("compare", frozenset({"problem", "rubric", "answer_a", "answer_b"})),)
    stop = "</better_answer>"
    tie = 0.5
    tokens = 150

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return candidates * (candidates - 1) + 2 * candidates * reference

    def parse(self, completion: str) -> Parsed[Side] | Rejection:
        return parse_better(completion)

    def both(self, as_a: Side, as_b: Side) -> float:
        return win(as_a, as_b)

    async def score(
        self,
        judge: Judge,
        problem: Problem,
        rubric: Rubric | None,
        judged: Sequence[Candidate],
        group: Sequence[Candidate],
    ) -> list[Evaluation | Failure]:
        match, stand_in = match_for(judge, problem, rubric), stand_ins(judge, [*group, *judged])
        pairs: dict[tuple[int, int], tuple[Candidate, Candidate]] = {}
        for one in judged:
            for other in group:
                first, second = sorted((stand_in[one.index], stand_in[other.index]), key=lambda candidate: candidate.index)
                if one.index != other.index and first.answer != second.answer:
                    pairs[first.index, second.index] = (first, second)
        scores = await together(self.compared(match, one, other) for one, other in pairs.values())
        known = dict(zip(pairs, scores, strict=True))

        def against(one: Candidate, other: Candidate) -> Comparison | Failure:
            a, b = stand_in[one.index], stand_in[other.index]
            if a.answer == b.answer:
                return Comparison(against=other.index, score=self.tie)
            score = known[min(a.index, b.index), max(a.index, b.index)]
            if isinstance(score, Failure):
                return score
            return Comparison(against=other.index, score=score if a.index < b.index else 1 - score)

        return [evaluation_of(one, [against(one, other) for other in group if other.index != one.index]) for one in judged]


async def better_in_both_orders(match: Match, one: Candidate, other: Candidate) -> tuple[Side, Side] | Failure:
    """Return which side the judge calls the better one with `one` as A and `other` as B, and then the other way round."""
    return await Pairwise().in_both_orders(match, one, other)
