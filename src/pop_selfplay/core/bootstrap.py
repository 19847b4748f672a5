"""Percentile intervals by resampling whole clusters, for statistics that have no simple formula for their spread.

Observations of one cluster (the answers to one problem, the epochs of one item) stay together in every resample. A statistic
that is a plain mean of independent clusters needs none of this: `core/stats.py` has the formula.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pop_selfplay.core.stats import Estimate

RESAMPLES: Final = 2000
_COUNTS_AT_ONCE: Final = 4_000_000

Indices = npt.NDArray[np.intp]


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
    found = np.array([statistic(np.concatenate([members[place] for place in draw])) for draw in draws])
    return Estimate(whole, *_middle(found), n)


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    weights: Sequence[float] | None = None,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Return the mean of `values`, weighted by `weights` (≥ 0) where they are given, with its 95 % percentile interval.

    The same as `bootstrap` of a weighted mean, but in one matrix product: fit for tens of thousands of observations.
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    heavy = [1.0] * n if weights is None else list(weights)
    sums: dict[Hashable, tuple[float, float]] = {}
    for value, weight, cluster in zip(values, heavy, clusters, strict=True):
        upper, lower = sums.get(cluster, (0.0, 0.0))
        sums[cluster] = (upper + weight * value, lower + weight)
    upper, lower = (math.fsum(part) for part in zip(*sums.values(), strict=True))
    mean = upper / lower if lower else math.nan
    if len(sums) < 2:
        return Estimate(mean, -math.inf, math.inf, n)
    return Estimate(mean, *_middle(_resampled(np.array(list(sums.values())), seed, resamples)), n)


def _resampled(sums: npt.NDArray[np.float64], seed: int, resamples: int) -> npt.NDArray[np.float64]:
    """Return the ratio of column sums of `sums`, shape (clusters, 2), on each resample of its rows."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    shares = np.full(count, 1 / count)
    at_once = max(1, _COUNTS_AT_ONCE // count)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(count, shares, size=min(at_once, resamples - start)) @ sums
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(drawn[:, 0] / drawn[:, 1])
    return np.concatenate(parts)


def _middle(found: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of the middle 95 % of what is finite."""
    finite = found[np.isfinite(found)]
    if len(finite) == 0:
        return -math.inf, math.inf
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
