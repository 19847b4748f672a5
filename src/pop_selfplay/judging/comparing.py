"""Pairwise and anchor: the judge holds two answers against the rubric, in both orders.

`ComparingMode` is what such modes share: an order whose answer does not parse voids the comparison, a candidate without a valid
comparison has no score, identical answers tie without a call. A mode adds what is compared with what (`score`), how a reply is
read (`parse`) and what both orders come to (`both`).
"""

import statistics
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from pop_selfplay.judging.base import Judge, PromptFile, ScoringMode, rubric_json, voted
from pop_selfplay.method.parsing import BETTER, MARKS, Form, Marks, Parsed, Rejection, Side, parse_better, parse_marks
from pop_selfplay.method.rewards import comparison_score, lead, win
from pop_selfplay.records import Candidate, Comparison, Completion, Evaluation, Failure, Problem, Role, Rubric
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread

V = TypeVar("V")


class Match(NamedTuple):
    """What is compared by what: `rubric` is the rubric as the judge reads it."""

    judge: Judge
    problem: Problem
    rubric: str


class ComparingMode(ScoringMode, Generic[V]):
    """A mode that compares two answers at a time. V is what one reply of the judge says about them."""

    score_range = None
    stop: ClassVar[str]
    """The closing tag that ends a reply."""
    form: ClassVar[Form]
    """The form of a reply."""
    tie: ClassVar[float]
    """What two identical answers come to."""

    @abstractmethod
    def parse(self, completion: str) -> Parsed[V] | Rejection:
        """Read one reply."""

    @abstractmethod
    def both(self, as_a: V, as_b: V) -> float:
        """Return what both orders come to for the answer that was shown as A first and as B then."""

    async def compared(self, match: Match, one: Candidate, other: Candidate) -> float | Failure:
        """Return what the judge makes of `one` beside `other`: the mean of the votes in which both orders are valid."""
        if one.answer == other.answer:
            return self.tie
        votes = await together(self._vote(match, one, other, vote) for vote in range(match.judge.rules.votes))
        valid = [score for score in votes if not isinstance(score, Failure)]
        return statistics.fmean(valid) if valid else votes[-1]

    async def in_both_orders(self, match: Match, one: Candidate, other: Candidate, vote: int = 0) -> tuple[V, V] | Failure:
        """Return what the judge says with `one` as A and `other` as B, and then the other way round."""
        first, second = self._asked(match, one, other, vote), self._asked(match, other, one, vote)
        as_a, as_b = await together((first, second))
        if isinstance(as_a, Failure):
            return as_a
        return as_b if isinstance(as_b, Failure) else (as_a, as_b)

    async def _vote(self, match: Match, one: Candidate, other: Candidate, vote: int) -> float | Failure:
        verdicts = await self.in_both_orders(match, one, other, vote)
        return verdicts if isinstance(verdicts, Failure) else self.both(*verdicts)

    async def _asked(self, match: Match, a: Candidate, b: Candidate, vote: int) -> V | Failure:
        (prompt,) = self.prompts
        messages = match.judge.render(
            prompt.name, problem=match.problem.text, rubric=match.rubric, answer_a=a.answer, answer_b=b.answer
        )
        item = voted(f"{a.index}:{b.index}", vote)
        return await match.judge.ask(item, messages, self._read, stop=self.stop, form=self.form)

    def _read(self, completion: Completion) -> Parsed[V] | Rejection:
        return self.parse(completion.text)


class Pairwise(ComparingMode[Side]):
    """Every candidate against every other one; the score is the mean win rate, in [0, 1]."""

    name = "pairwise"
    prompts = (PromptFile("compare", frozenset({"problem", "rubric", "answer_a", "answer_b"})),)
    stop = "</better_answer>"
    form = BETTER
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


class Anchor(ComparingMode[Marks]):
    """Every candidate against the one of median length, both rated from 0 to 10; the score is the mean lead, in [−10, 10].

    The anchor itself leads by 0.
    """

    name = "anchor"
    prompts = (PromptFile("anchor", frozenset({"problem", "rubric", "answer_a", "answer_b"})),)
    stop = "</rating_B>"
    form = MARKS
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


async def better_in_both_orders(match: Match, one: Candidate, other: Candidate) -> tuple[Side, Side] | Failure:
    """Return which side the judge calls the better one with `one` as A and `other` as B, and then the other way round."""
    return await Pairwise().in_both_orders(match, one, other)


def match_for(judge: Judge, problem: Problem, rubric: Rubric | None) -> Match:
    assert rubric is not None  # every mode that compares does so by one
    return Match(judge, problem, rubric_json(rubric))


def stand_ins(judge: Judge, candidates: Sequence[Candidate]) -> dict[int, Candidate]:
    """Return index → the candidate that is asked about in its place: itself, or with `share_identical` the first like it."""
    if not judge.rules.share_identical:
        return {candidate.index: candidate for candidate in candidates}
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.answer, candidate)
    return {candidate.index: first[candidate.answer] for candidate in candidates}


def evaluation_of(one: Candidate, outcomes: Sequence[Comparison | Failure]) -> Evaluation | Failure:
    """Return the evaluation of a candidate by its valid comparisons, or the last failure where it has none."""
    valid = tuple(outcome for outcome in outcomes if isinstance(outcome, Comparison))
    if valid:
        return Evaluation(candidate=one.index, comparisons=valid, score=comparison_score(valid))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    return failures[-1] if failures else Failure(stage=Role.JUDGE.value, reason="no_comparison", detail="there is no other")
