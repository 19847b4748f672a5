"""Do two scorings of the same candidates agree? By rank, and by best against worst (paper, 5.5).

Scorings are sequences of equal length, one score for each candidate, higher is better; only their order matters. An agreement
is in [0, 1], ties of the second scoring count half, so 0.5 is chance. None stands for "cannot be told": one scoring is flat.
The next way to compare two scorings is a function here.
"""

import math
import statistics
from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np

_FLAT: Final = 1e-9
"""A standard deviation below this is the rounding of numbers that are all the same."""


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2
        start = end
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation in [−1, 1], ties by mean rank; None where a scoring has fewer than two levels."""
    return pearson(ranks(one), ranks(other))


def pearson(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the linear correlation in [−1, 1]; None where one side does not vary."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values beside {len(other)}")
    if len(one) < 2 or min(statistics.pstdev(one), statistics.pstdev(other)) < _FLAT:
        return None
    return max(-1.0, min(1.0, statistics.correlation(one, other)))


def best_worst(scores: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return how often `truth`, too, puts the best of `scores` above the worst; where several tie for an end, the mean.

    None where `scores` are all alike: then there is no pair.
    """
    if len(scores) < 2 or max(scores) == min(scores):
        return None
    best = [t for s, t in zip(scores, truth, strict=True) if s == max(scores)]
    worst = [t for s, t in zip(scores, truth, strict=True) if s == min(scores)]
    return statistics.fmean(above(high, low) for high, low in product(best, worst))


def above(one: float, other: float) -> float:
    """Return 1 where `one` is higher, 0 where it is lower, 0.5 where they tie."""
    return 0.5 if math.isclose(one, other, rel_tol=0, abs_tol=1e-12) else float(one > other)
