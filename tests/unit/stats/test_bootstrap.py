"""Intervals by resampling keep clusters together, agree with formulas where there are some, and repeat by their seed."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from pop_selfplay.stats.intervals import Estimate, Indices, bootstrap, bootstrap_totals, clustered_mean, totals_by_cluster


def sample(count: int) -> tuple[list[float], list[int]]:
    """Return `count` values in clusters of four that share a shift."""
    rng = random.Random(3)
    shifts = [rng.gauss(0, 1) for _ in range(count // 4)]
    return [shifts[n // 4] + rng.gauss(0, 0.2) for n in range(count)], [n // 4 for n in range(count)]


def resampled_mean(values: list[float], clusters: Sequence[int], seed: int, weights: list[float] | None = None) -> Estimate:
    heavy = weights or [1.0] * len(values)
    totals = totals_by_cluster([(w * v, w) for v, w in zip(values, heavy, strict=True)], clusters)
    return bootstrap_totals(lambda sums: sums[:, 0] / sums[:, 1], totals, len(values), seed=seed)


def test_the_interval_of_a_mean_is_that_of_the_formula_within_a_few_percent() -> None:
    values, clusters = sample(800)
    resampled, formula = resampled_mean(values, clusters, 1), clustered_mean(values, clusters)
    assert resampled.mean == pytest.approx(formula.mean) and resampled.n == 800
    assert resampled.high - resampled.low == pytest.approx(formula.high - formula.low, rel=0.08)


def test_ignoring_the_clusters_would_make_the_interval_too_narrow() -> None:
    values, clusters = sample(800)
    honest, naive = (resampled_mean(values, c, 1) for c in (clusters, range(800)))
    assert honest.high - honest.low > 1.7 * (naive.high - naive.low)


def test_any_statistic_can_be_resampled_and_a_mean_comes_out_alike_both_ways() -> None:
    values, clusters = sample(120)
    weights = [1.0 + n % 3 for n in range(120)]
    array, heavy = np.array(values), np.array(weights)

    def weighted(indices: Indices) -> float:
        return float(np.average(array[indices], weights=heavy[indices]))

    one = bootstrap(weighted, clusters, seed=1, resamples=1500)
    other = resampled_mean(values, clusters, 2, weights)
    assert one.mean == pytest.approx(other.mean)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.06)


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    values, clusters = sample(200)
    first, again, other = (resampled_mean(values, clusters, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert first.low == pytest.approx(other.low, abs=0.05)


def test_with_one_cluster_or_none_the_interval_is_infinite() -> None:
    assert resampled_mean([1.0, 2.0], [7, 7], 0) == (1.5, -math.inf, math.inf, 2)
    assert bootstrap(lambda indices: float(len(indices)), ["a", "a"], seed=0) == (2.0, -math.inf, math.inf, 2)
    empty = resampled_mean([], [], 0)
    assert math.isnan(empty.mean) and empty.n == 0 and math.isinf(bootstrap(lambda _: 0.0, [], seed=0).low)


def test_resamples_without_a_finite_statistic_are_left_out() -> None:
    def sometimes(indices: Indices) -> float:
        return math.nan if len(set(indices.tolist())) < 2 else 1.0

    assert bootstrap(sometimes, [0, 1], seed=0)[:3] == (1.0, 1.0, 1.0)
    weighted = resampled_mean([1.0, 5.0], [0, 1], 0, [0.0, 1.0])
    assert weighted[:3] == (5.0, 5.0, 5.0)
