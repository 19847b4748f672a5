"""Means with intervals that respect clusters: facts about one plant, or answers to one problem, are not independent."""

import math
from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

Range = tuple[float, float]
"""The lowest and the highest that a value can be."""

SHARES: Final[Range] = (0.0, 1.0)
SIGNED: Final[Range] = (-1.0, 1.0)
"""Correlations, and differences of shares."""

_Z95: Final = 1.959963984540054
_FLAT: Final = 1e-9


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


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable], within: Range | None = None) -> Estimate:
    """Return the mean of `values` with a cluster-robust normal 95 % interval, `bounded` where their range is given.

    The variance is that of the ratio estimator: Σ_c (Σ_{i∈c} (x_i − mean))² · C/(C−1) / n². One cluster only, or none, gives an
    infinite interval (nan mean for no values): there is nothing to tell the spread from.
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    mean = math.fsum(values) / n
    sums: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    count = len(sums)
    if count < 2:
        return Estimate(mean, -math.inf, math.inf, n)
    half = _Z95 * math.sqrt(math.fsum(s * s for s in sums.values()) * count / (count - 1)) / n
    found = Estimate(mean, mean - half, mean + half, n)
    return found if within is None else bounded(found, count, within)


def bounded(estimate: Estimate, clusters: int, within: Range) -> Estimate:
    """Return a mean over some `clusters` with an interval that stays `within` what its values can be, and has a width.

    Where all clusters are alike, neither their variance nor drawing them anew shows what others would be like, and the mean
    would pass for certain. Then as large a share of all clusters as Wilson's interval allows for 0 of these may have any value
    within the range; of shares that are 0 or 1 this is Wilson's interval itself. One cluster tells nothing either way.
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


def paired_difference(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable], within: Range | None = None
) -> Estimate:
    """Return the mean of after − before on the same items, with a cluster-robust 95 % interval; `within` is its range."""
    return clustered_mean([b - a for a, b in zip(before, after, strict=True)], clusters, within)
