"""Means with 95 % intervals that respect clusters: facts about one plant, or answers to one problem, are not independent.

Everything is computed from one value and one weight for each cluster. A mean of shares gets Wilson's interval with as many
independent observations as its variance over the clusters is worth (Korn and Graubard 1998), a mean of signed values that of
the difference of its positive and its negative part (Zou and Donner 2008), and a mean without a range Student's. Near 0 and 1
few clusters tell the variance: the fewer do, the more each cluster counts as one observation only. `benchmarks/coverage.py`
measures how often these intervals hold the truth, and docs/evaluation.md says where they do.
"""

import math
from collections.abc import Hashable, Sequence
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
    totals = np.array([of for of in sums.values() if of[1] > 0], dtype=np.float64).reshape(-1, 2)
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
