"""How good a rubric was at its work, from what the judge made of one problem's candidates."""

import statistics
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

from pop_selfplay.records import Evaluation, Rubric


class Power(NamedTuple):
    """How far one criterion tells the candidates of a group apart. 0 in both: it rated them all alike.

    `std` is the population standard deviation of its ratings, in [0, 1]; `difference` the mean absolute difference between the
    ratings of two candidates, in [0, 2].
    """

    criterion: str
    std: float
    difference: float


def criterion_power(rubric: Rubric, evaluations: Sequence[Evaluation]) -> tuple[Power, ...]:
    """Return the power of each criterion, in the rubric's order. Empty where fewer than two candidates have ratings."""
    rated = [{rating.criterion: rating.rating for rating in e.ratings} for e in evaluations if e.ratings]
    if len(rated) < 2:
        return ()
    names = [criterion.name for criterion in rubric.criteria]
    return tuple(Power(name, *_apart(tuple(sorted(ratings[name] for ratings in rated)))) for name in names)


@lru_cache(maxsize=10_000)
def _apart(ratings: tuple[float, ...]) -> tuple[float, float]:
    """Return standard deviation and mean absolute difference of sorted ratings.

    Sorted, whole ratings are one of a few hundred tuples: over a hundred thousand problems each is worked out once.
    """
    return statistics.pstdev(ratings), statistics.fmean(abs(a - b) for a, b in combinations(ratings, 2))


def verify_agreement(evaluations: Sequence[Evaluation]) -> float | None:
    """Return how often a candidate with the right final answer scores above one with a wrong one, in [0, 1]; ties count half.

    0.5 is chance. None where the group has no right or no wrong candidate.
    """
    right = [e.score for e in evaluations if e.verified is True]
    wrong = [e.score for e in evaluations if e.verified is False]
    if not right or not wrong:
        return None
    return statistics.fmean(1.0 if r > w else 0.5 if r == w else 0.0 for r, w in product(right, wrong))


def below_median(reference: Evaluation, evaluations: Sequence[Evaluation]) -> bool:
    """Return whether the reference answer scores below the median candidate: then the rubric misses what the answer knew."""
    return reference.score < statistics.median(evaluation.score for evaluation in evaluations)
