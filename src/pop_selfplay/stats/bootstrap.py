"""Percentile intervals by resampling whole clusters, for statistics that have no simple formula for their spread.

Observations of one cluster (the answers to one problem, the epochs of one item) stay together in every resample. A statistic
that is a mean needs none of this: `stats/intervals.py` has its formula, which holds better near 0 and 1 and with few clusters.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pop_selfplay.stats.intervals import Estimate

RESAMPLES: Final = 2000
_COUNTS_AT_ONCE: Final = 4_000_000

Indices = npt.NDArray[np.intp]
Totals = npt.NDArray[np.float64]


def bootstrap(
    statistic: Callable[[Indices], float], clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """Return `statistic` over all observations with its 95 % percentile interval over `resamples` resamples of the clusters.

    `statistic` gets the indices of the observations of a resample, with repetitions. A resample on which it is not finite is
    left out. With one cluster only, or none that is finite, the interval is infinite: there is nothing to tell the spread from.
    """
    n = len(clusters)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    groups: dict[Hashable, list[int]] = {}
    for index, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(index)
    members = [np.array(group, dtype=np.intp) for group in groups.values()]
    whole = statistic(np.arange(n, dtype=np.intp))
    if len(members) < 2:
        return Estimate(whole, -math.inf, math.inf, n)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(members), len(members)) for _ in range(resamples))
    alone = np.array([member[0] for member in members]) if len(members) == n else None
    found = np.array(
        [statistic(np.concatenate([members[place] for place in draw]) if alone is None else alone[draw]) for draw in draws]
    )
    return Estimate(whole, *_middle(found), n)


def totals_by_cluster(parts: Sequence[Sequence[float]], clusters: Sequence[Hashable]) -> Totals:
    """Return the sum of `parts`, one row for each observation, over each cluster: shape (clusters, parts)."""
    sums: dict[Hashable, npt.NDArray[np.float64]] = {}
    for part, cluster in zip(parts, clusters, strict=True):
        row = np.array(part, dtype=np.float64)
        sums[cluster] = sums[cluster] + row if cluster in sums else row
    return np.array(list(sums.values()), dtype=np.float64)


def bootstrap_totals(
    statistic: Callable[[Totals], npt.NDArray[np.float64]], totals: Totals, n: int, *, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """Return a statistic of column sums with its 95 % percentile interval over resamples of the rows of `totals`.

    `statistic` gets one row of sums for each resample and returns one number for each. `n` is how many observations the totals
    stand for. The same as `bootstrap`, but in one matrix product: fit for tens of thousands of observations.
    """
    if len(totals) == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(statistic(totals.sum(axis=0, keepdims=True))[0])
        if len(totals) < 2:
            return Estimate(whole, -math.inf, math.inf, n)
        rng = np.random.default_rng(seed)
        shares = np.full(len(totals), 1 / len(totals))
        at_once = max(1, _COUNTS_AT_ONCE // len(totals))
        parts = [
            statistic(rng.multinomial(len(totals), shares, size=min(at_once, resamples - start)) @ totals)
            for start in range(0, resamples, at_once)
        ]
    return Estimate(whole, *_middle(np.concatenate(parts)), n)


def _middle(found: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of the middle 95 % of what is finite."""
    finite = found[np.isfinite(found)]
    if len(finite) == 0:
        return -math.inf, math.inf
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
