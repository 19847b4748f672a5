"""Means with 95 % intervals that respect clusters: facts about one plant, or answers to one problem, are not independent.

Everything is computed from one value and one weight for each cluster. A mean of shares gets Wilson's interval with as many
independent observations as its variance over the clusters is worth (Korn and Graubard 1998), a mean of signed values that of
the difference of its positive and its negative part (Zou and Donner 2008), and a mean without a range Student's. Near 0 and 1
few clusters tell the variance: the fewer do, the more each cluster counts as one observation only. `benchmarks/coverage.py`
measures how often these intervals hold the truth, and docs/evaluation.md says where they do.

Percentile intervals by resampling whole clusters, for statistics that have no simple formula for their spread.

Observations of one cluster (the answers to one problem, the epochs of one item) stay together in every resample. A statistic
that is a mean needs none of this: `stats/intervals.py` has its formula, which holds better near 0 and 1 and with few clusters.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
"""The lowest and the highest that a value can be."""
Array = npt.NDArray[np.float64]

SHARES: Final[Range] = (0.0, 1.0)
SIGNED: Final[Range] = (-1.0, 1.0)
"""Correlations, and differences of shares."""

_Z95: Final = 1.959963984540054
_FLAT: Final = 1e-9
_DOUBT: Final = 2.0
"""With so many clusters that tell the variance, it and "a cluster is one observation" weigh the same."""
_CONTINUITY: Final = 0.5
"""Of Yates' correction: half of it holds 95 % where all of it would hold more, and none less."""


class Estimate(NamedTuple):
    """A mean with its 95 % interval [low, high] over n observations."""

    mean: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int | None]:
        """Return the estimate rounded to 6 decimals for result files; what is not finite becomes null."""
        mean, low, high = (round(x, 6) if math.isfinite(x) else None for x in (self.mean, self.low, self.high))
        return {"mean": mean, "low": low, "high": high, "n": self.n}


class Limits(NamedTuple):
    """Means with the ends of their intervals, arrays of one shape."""

    mean: Array
    low: Array
    high: Array


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    within: Range | None = None,
    *,
    weights: Sequence[float] | None = None,
) -> Estimate:
    """Return the mean of `values`, weighted by `weights` (≥ 0) where they are given, with its 95 % interval.

    `within` is the range of the values, where it is known: then the interval stays within it, has a width also where all
    values are alike, and holds for shares near 0 and 1. One cluster only, or none, gives an infinite interval (nan mean for no
    values): there is nothing to tell the spread from.
    """
    n = len(values)
    heavy = [1.0] * n if weights is None else weights
    sums: dict[Hashable, list[float]] = {}
    for value, cluster, weight in zip(values, clusters, heavy, strict=True):
        of = sums.setdefault(cluster, [0.0, 0.0])
        of[0] += weight * value
        of[1] += weight
    return mean_of_totals(np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2), n, within)


def mean_of_totals(totals: Array, n: int, within: Range | None = None) -> Estimate:
    """Return the same of `n` values whose clusters are known by their weighted sums and their weights: [clusters, 2]."""
    totals = totals[totals[:, 1] > 0]
    if not len(totals):
        return Estimate(math.nan, -math.inf, math.inf, n)
    if len(totals) < 2:
        return Estimate(float(totals[0, 0] / totals[0, 1]), -math.inf, math.inf, n)
    found = mean_limits(totals[:, 0] / totals[:, 1], totals[:, 1], within)
    return Estimate(float(found.mean), float(found.low), float(found.high), n)


def paired_difference(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable], within: Range | None = None
) -> Estimate:
    """Return the mean of after − before on the same items, with its 95 % interval; `within` is the range of the differences."""
    return clustered_mean([b - a for a, b in zip(before, after, strict=True)], clusters, within)


def mean_limits(values: Array, weights: Array, within: Range | None) -> Limits:
    """Return weighted means over the last axis, which holds the clusters (at least two), with their 95 % intervals.

    `values` and `weights` have the shape (…, clusters); values are within the range, where there is one.
    """
    low, high = within or (-math.inf, math.inf)
    if low < 0 < high < math.inf and low > -math.inf:
        size = max(-low, high)
        found = _signed(values / size, weights)
        return Limits(size * found.mean, np.maximum(low, size * found.low), np.minimum(high, size * found.high))
    if math.isfinite(low) and math.isfinite(high):
        found = _share((values - low) / (high - low), weights)
        return Limits(*(low + (high - low) * limit for limit in found))
    mean, variance, effective = _moments(values, weights)
    half = student(effective - 1) * np.sqrt(variance)
    return Limits(mean, np.maximum(low, mean - half), np.minimum(high, mean + half))


def _moments(values: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return mean, its variance (of the ratio estimator), and how many clusters of equal weight these are worth (Kish)."""
    count, total = values.shape[-1], weights.sum(axis=-1)
    mean = (weights * values).sum(axis=-1) / total
    squares = (weights**2 * (values - mean[..., None]) ** 2).sum(axis=-1)
    return mean, squares * count / (count - 1) / total**2, total**2 / (weights**2).sum(axis=-1)


def _share(values: Array, weights: Array) -> Limits:
    mean, variance, effective = _moments(values, weights)
    mean = np.clip(mean, 0.0, 1.0)
    worth = np.where(variance > _FLAT**2, mean * (1 - mean) / np.maximum(variance, _FLAT**2), effective)
    telling = np.minimum((values > _FLAT).sum(axis=-1), (values < 1 - _FLAT).sum(axis=-1))
    known = telling / (telling + _DOUBT)
    count = 1 / (known / np.maximum(worth, 1.0) + (1 - known) / effective)
    t = student(effective - 1)
    low, high = 1 - _upper(1 - mean, count, t), _upper(mean, count, t)
    return Limits(mean, np.where(mean <= _FLAT, 0.0, low), np.where(mean >= 1 - _FLAT, 1.0, high))


def _upper(share: Array, count: Array, t: Array) -> Array:
    """Return the upper end of Wilson's interval of a share of `count` things, with part of Yates' correction."""
    moved = np.minimum(share + _CONTINUITY / (2 * count), 1.0)
    root = np.sqrt(t**2 + 4 * count * moved * (1 - moved))
    return np.asarray(np.minimum((2 * count * moved + t**2 + t * root) / (2 * (count + t**2)), 1.0), dtype=np.float64)


def _signed(values: Array, weights: Array) -> Limits:
    """Return the limits of means of values in [−1, 1] from those of their positive and negative parts, which may correlate."""
    parts = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    up, down = (_share(part, weights) for part in parts)
    deviations = [weights * (part - limits.mean[..., None]) for part, limits in zip(parts, (up, down), strict=True)]
    product = (deviations[0] * deviations[1]).sum(axis=-1)
    scale = np.sqrt((deviations[0] ** 2).sum(axis=-1) * (deviations[1] ** 2).sum(axis=-1))
    correlation = np.where(scale > 0, product / np.where(scale > 0, scale, 1.0), 0.0)

    def distance(a: Array, b: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(a**2 + b**2 - 2 * correlation * a * b, 0.0)), dtype=np.float64)

    mean = up.mean - down.mean
    below, above = distance(up.mean - up.low, down.high - down.mean), distance(up.high - up.mean, down.mean - down.low)
    return Limits(mean, np.maximum(mean - below, -1.0), np.minimum(mean + above, 1.0))


def student(freedom: Any) -> Array:
    """Return the 97.5 % point of Student's distribution; with less than 1 degree of freedom that of 1.

    By the expansion in 1/freedom (Fisher 1926), to 0.003 from 3 degrees on; exact at 1 and 2, linear in 1/freedom between.
    """
    v = np.maximum(np.asarray(freedom, dtype=np.float64), 1.0)
    z = _Z95
    large = (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
    small = np.interp(1 / v, (1 / 3, 1 / 2, 1.0), (3.182446, 4.302653, 12.706205))
    return np.asarray(np.where(v < 3, small, large), dtype=np.float64)


def bounded(estimate: Estimate, clusters: int, within: Range) -> Estimate:
    """Return a bootstrapped figure of some `clusters` with an interval that stays `within` its range, and has a width.

    Where all clusters are alike, drawing them anew does not show what others would be like, and the figure would pass for
    certain. Then as large a share of all clusters as Wilson's interval allows for 0 of these may have any value within the
    range. One cluster tells nothing either way.
    """
    if clusters < 2:
        return estimate
    mean, low, high, _ = estimate
    if high - low < _FLAT:
        unseen = wilson(0.0, clusters)[1]
        low, high = mean - unseen * (mean - within[0]), mean + unseen * (within[1] - mean)
    return estimate._replace(low=max(within[0], low), high=min(within[1], high))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a `share` of `count` independent things; it has a width at 0 and 1, too."""
    if count == 0:
        return -math.inf, math.inf
    squared = _Z95 * _Z95
    middle = (share * count + squared / 2) / (count + squared)
    half = _Z95 / (count + squared) * math.sqrt(count * share * (1 - share) + squared / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


RESAMPLES: Final = 2000
_COUNTS_AT_ONCE: Final = 4_000_000
_VALUES_AT_ONCE: Final = 200_000

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


def bootstrap_counts(
    statistic: Callable[[Array], Array], clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """Return what `bootstrap` does, for a statistic that can be computed of many resamples at once.

    `statistic` gets how often each observation is drawn, shape (some resamples, observations), and returns a number for each.
    """
    n = len(clusters)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    number = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    of = np.array([number[cluster] for cluster in clusters])
    whole = float(statistic(np.ones((1, n)))[0])
    if len(number) < 2:
        return Estimate(whole, -math.inf, math.inf, n)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(number), len(number)) for _ in range(resamples))
    counts = np.array([np.bincount(draw, minlength=len(number)) for draw in draws], dtype=np.float64)[:, of]
    at_once = max(1, _VALUES_AT_ONCE // n)
    found = [statistic(counts[start : start + at_once]) for start in range(0, resamples, at_once)]
    return Estimate(whole, *_middle(np.concatenate(found)), n)


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
