"""Compare: the judge holds two answers against the rubric, in both orders, without the document (method, "Scoring modes").

`pairwise` compares every candidate with every other one and scores it by its mean win rate. `anchor` compares every candidate
with the one of median length, has both rated from 0 to 10, and scores by the mean lead. An order whose answer does not parse
voids the comparison; a candidate without a valid comparison has no score. Identical answers tie without a call.

The next way to compare gets a prompt in the domains, a `_Way` and a public function here, and a case in `rate.py`.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from pop_selfplay.method.parsing import Marks, Parsed, Rejection, Side, parse_better, parse_marks
from pop_selfplay.method.scoring import comparison_score, lead, win
from pop_selfplay.records import Candidate, Comparison, Evaluation, Failure, Problem, Role
from pop_selfplay.stages.calls import Cast, Question, ask, voted
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread

V = TypeVar("V")


class _Way(NamedTuple, Generic[V]):
    """One way to compare: what is asked, how it is read, what both orders come to, and what a tie is worth."""

    prompt: str
    stop: str
    parse: Callable[[str], Parsed[V] | Rejection]
    both: Callable[[V, V], float]
    tie: float


_PAIRWISE: Final = _Way[Side]("compare", "</better_answer>", parse_better, win, 0.5)
_ANCHOR: Final = _Way[Marks]("anchor", "</rating_B>", parse_marks, lead, 0.0)


class Match(NamedTuple):
    """What is compared by what: `rubric` is the rubric as the judge reads it."""

    cast: Cast
    problem: Problem
    rubric: str
    round: int


async def pairwise(match: Match, judged: Sequence[Candidate], group: Sequence[Candidate]) -> list[Evaluation | Failure]:
    """Return an evaluation for each of `judged`: its mean win rate, in [0, 1], against every other candidate of `group`.

    Up to |group|·(|group|−1) calls for a whole group: two for each pair.
    """
    stand_in = _stand_ins(match.cast, [*group, *judged])
    pairs: dict[tuple[int, int], tuple[Candidate, Candidate]] = {}
    for one in judged:
        for other in group:
            first, second = sorted((stand_in[one.index], stand_in[other.index]), key=lambda candidate: candidate.index)
            if one.index != other.index and first.answer != second.answer:
                pairs[first.index, second.index] = (first, second)
    scores = await together(_compared(_PAIRWISE, match, one, other) for one, other in pairs.values())
    known = dict(zip(pairs, scores, strict=True))

    def against(one: Candidate, other: Candidate) -> Comparison | Failure:
        a, b = stand_in[one.index], stand_in[other.index]
        if a.answer == b.answer:
            return Comparison(against=other.index, score=_PAIRWISE.tie)
        score = known[min(a.index, b.index), max(a.index, b.index)]
        if isinstance(score, Failure):
            return score
        return Comparison(against=other.index, score=score if a.index < b.index else 1 - score)

    return [_evaluation(one, [against(one, other) for other in group if other.index != one.index]) for one in judged]


async def anchor(match: Match, judged: Sequence[Candidate], group: Sequence[Candidate]) -> list[Evaluation | Failure]:
    """Return an evaluation for each of `judged`: its mean lead, in [−10, 10], over the median-length candidate of `group`.

    Up to 2·|judged| calls. The anchor itself leads by 0.
    """
    (middle,) = spread(group, 1)
    stand_in = _stand_ins(match.cast, [middle, *judged])
    firsts = {stand_in[one.index].index: stand_in[one.index] for one in judged}
    scores = await together(_compared(_ANCHOR, match, one, middle) for one in firsts.values())
    known = dict(zip(firsts, scores, strict=True))

    def against_anchor(one: Candidate) -> Comparison | Failure:
        score = known[stand_in[one.index].index]
        return score if isinstance(score, Failure) else Comparison(against=middle.index, score=score)

    return [_evaluation(one, [against_anchor(one)]) for one in judged]


def _stand_ins(cast: Cast, candidates: Sequence[Candidate]) -> dict[int, Candidate]:
    """Return index → the candidate that is asked about in its place: itself, or with `share_identical` the first like it."""
    if not cast.synthesis.share_identical:
        return {candidate.index: candidate for candidate in candidates}
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.answer, candidate)
    return {candidate.index: first[candidate.answer] for candidate in candidates}


async def _compared(way: _Way[V], match: Match, one: Candidate, other: Candidate) -> float | Failure:
    """Return what the judge makes of `one` beside `other`: the mean of the votes in which both orders are valid."""
    if one.answer == other.answer:
        return way.tie
    votes = await together(_vote(way, match, one, other, vote) for vote in range(match.cast.synthesis.votes))
    valid = [score for score in votes if not isinstance(score, Failure)]
    return statistics.fmean(valid) if valid else votes[-1]


async def both_orders(match: Match, one: Candidate, other: Candidate) -> tuple[Side, Side] | Failure:
    """Return which side the judge calls the better one with `one` as A and `other` as B, and then the other way round."""
    return await _in_both_orders(_PAIRWISE, match, one, other, 0)


async def _vote(way: _Way[V], match: Match, one: Candidate, other: Candidate, vote: int) -> float | Failure:
    verdicts = await _in_both_orders(way, match, one, other, vote)
    return verdicts if isinstance(verdicts, Failure) else way.both(*verdicts)


async def _in_both_orders(way: _Way[V], match: Match, one: Candidate, other: Candidate, vote: int) -> tuple[V, V] | Failure:
    first, second = _asked(way, match, one, other, vote), _asked(way, match, other, one, vote)
    as_a, as_b = await together((first, second))
    if isinstance(as_a, Failure):
        return as_a
    return as_b if isinstance(as_b, Failure) else (as_a, as_b)


async def _asked(way: _Way[V], match: Match, a: Candidate, b: Candidate, vote: int) -> V | Failure:
    messages = match.cast.domain.render(
        way.prompt, problem=match.problem.text, rubric=match.rubric, answer_a=a.answer, answer_b=b.answer
    )
    item = voted(f"{a.index}:{b.index}", vote)
    question = Question(match.round, match.problem.id, Role.JUDGE, item, messages, stop=way.stop)
    return await ask(match.cast, question, way.parse)


def _evaluation(one: Candidate, outcomes: Sequence[Comparison | Failure]) -> Evaluation | Failure:
    valid = tuple(outcome for outcome in outcomes if isinstance(outcome, Comparison))
    if valid:
        return Evaluation(candidate=one.index, comparisons=valid, score=comparison_score(valid))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    return failures[-1] if failures else Failure(stage=Role.JUDGE.value, reason="no_comparison", detail="there is no other")
