"""Intervals where two factors are crossed: runs with several seeds that all sit the same exam about the same plants.

Averaging over seeds does not make the plants more, nor the other way round; so both are drawn anew (Owen 2007, the pigeonhole
bootstrap). For one factor see `stats/intervals.py`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pop_selfplay.stats.intervals import RESAMPLES, Estimate

Sums = npt.NDArray[np.float64]


class Ratio(NamedTuple):
    """Σ above / Σ below, both [first factor, second factor]: say facts known of facts asked, by seed and plant."""

    above: Sums
    below: Sums


def bootstrap_crossed(ratio: Ratio, minus: Ratio | None = None, *, seed: int = 0) -> Estimate:
    """Return a ratio, or its difference to another one of the same shape, with the 95 % percentile interval of 2000 draws.

    Each draw takes levels of either factor with replacement, the same ones on both sides of a difference; one in which Σ below
    is 0 is left out. `n` is Σ below. With fewer than two levels of a factor the interval is infinite.
    """
    first, second = ratio.above.shape
    mean = float(_difference(ratio, minus, np.ones((1, first)), np.ones((1, second)))[0])
    n = round(float(ratio.below.sum()))
    if first < 2 or second < 2:
        return Estimate(mean, -math.inf, math.inf, n)
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(first, np.full(first, 1 / first), size=RESAMPLES)
    columns = rng.multinomial(second, np.full(second, 1 / second), size=RESAMPLES)
    low, high = np.nanpercentile(_difference(ratio, minus, rows, columns), (2.5, 97.5))
    return Estimate(mean, float(low), float(high), n)


def _difference(ratio: Ratio, minus: Ratio | None, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Sums:
    def of(one: Ratio) -> Sums:
        above, below = (np.einsum("rs,sp,rp->r", rows, sums, columns) for sums in one)
        found: Sums = np.divide(above, below, out=np.full(len(above), math.nan), where=below != 0)
        return found

    return of(ratio) if minus is None else of(ratio) - of(minus)
