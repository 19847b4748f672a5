"""Intervals are honest about clusters."""

import math
import random

import numpy as np
import pytest

from pop_selfplay.seeds import derive_seed
from pop_selfplay.stats.intervals import (
    SHARES,
    SIGNED,
    Estimate,
    bounded,
    clustered_mean,
    mean_limits,
    paired_difference,
    student,
    wilson,
)


def test_independent_values_give_the_textbook_interval() -> None:
    rng = random.Random(0)
    values = [rng.gauss(0, 1) for _ in range(2000)]
    estimate = clustered_mean(values, range(2000))
    assert estimate.high - estimate.mean == pytest.approx(1.96 / math.sqrt(2000), rel=0.05)
    assert estimate.n == 2000


def test_copies_of_a_value_add_no_certainty() -> None:
    rng = random.Random(1)
    values = [rng.random() for _ in range(100)]
    once, copied = clustered_mean(values, range(100)), clustered_mean(values * 9, [*range(100)] * 9)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.01)


def test_about_95_percent_of_the_intervals_hold_the_true_mean() -> None:
    rng, held = random.Random(2), 0
    for _ in range(400):
        clusters = [rng.gauss(0.5, 0.2) for _ in range(60)]
        values = [mean + rng.gauss(0, 0.2) for mean in clusters for _ in range(4)]
        estimate = clustered_mean(values, [c for c in range(60) for _ in range(4)])
        held += estimate.low <= 0.5 <= estimate.high
    assert 365 <= held <= 393


def test_a_paired_difference_is_sharper_than_two_means() -> None:
    rng = random.Random(3)
    before = [rng.random() for _ in range(200)]
    after = [value + 0.1 + rng.gauss(0, 0.01) for value in before]
    gain = paired_difference(before, after, range(200))
    assert gain.mean == pytest.approx(0.1, abs=0.005) and gain.high - gain.low < 0.01


def test_one_cluster_or_no_value_gives_no_false_certainty() -> None:
    assert clustered_mean([1.0, 2.0], ["a", "a"]).as_json() == {"mean": 1.5, "low": None, "high": None, "n": 2}
    assert clustered_mean([], []).as_json() == {"mean": None, "low": None, "high": None, "n": 0}


def test_seeds_tell_their_parts_apart() -> None:
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert all(0 <= derive_seed(n) < 2**63 for n in range(100))
    assert derive_seed("\ud800") == derive_seed("\ud800")


def test_a_share_of_nothing_or_everything_still_has_an_interval() -> None:
    assert wilson(0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)  # z² / (n + z²)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 0) == (-math.inf, math.inf)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_all_clusters_are_alike_a_share_is_about_as_uncertain_as_that_of_so_many_things(share: float) -> None:
    found = clustered_mean([share] * 30, [n // 3 for n in range(30)], SHARES)
    low, high = wilson(share, 10)
    assert found.n == 30 and 1 < (found.high - found.low) / (high - low) < 1.5
    assert share in (found.low, found.high)


def test_alike_clusters_within_a_range_are_never_certain_and_more_of_them_say_more() -> None:
    few, many = (paired_difference([0.5] * n, [0.5] * n, range(n), SIGNED) for n in (5, 500))
    assert few.low == -few.high and few.high > 0.4 > 0.01 > many.high > 0
    assert clustered_mean([0.5] * 5, range(5))[:3] == (0.5, 0.5, 0.5)  # nobody said what other values there could be


def test_an_interval_ends_where_values_do_and_one_cluster_tells_nothing() -> None:
    assert bounded(Estimate(0.9, 0.7, 1.1, 9), 9, SHARES) == (0.9, 0.7, 1.0, 9)
    assert bounded(Estimate(-0.2, -0.2, -0.2, 9), 9, (-math.inf, 1.0)).low == -math.inf
    assert clustered_mean([1.0, 1.0], ["a", "a"], SHARES).low == -math.inf
    assert clustered_mean([], [], SHARES).high == math.inf


def test_students_quantiles_are_those_of_the_tables() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 1000: 1.962}
    assert student(list(table)).tolist() == pytest.approx(list(table.values()), abs=0.004)
    assert student(0.2) == student(1)


def test_few_clusters_give_students_interval_and_many_the_normal_one() -> None:
    values = [1.0, 2.0, 4.0]
    half = 4.303 * float(np.std(values, ddof=1)) / math.sqrt(3)
    assert clustered_mean(values, range(3))[1:3] == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-3)


def test_a_weight_counts_as_often_as_it_says() -> None:
    weighted = clustered_mean([0.0, 1.0, 1.0], "abc", SHARES, weights=[1.0, 2.0, 0.0])
    assert weighted.mean == pytest.approx(2 / 3) and weighted.n == 3
    assert clustered_mean([0.0, 1.0, 1.0], "abb", SHARES)[:3] == pytest.approx(weighted[:3])


def test_an_interval_and_its_mirror_image_are_alike() -> None:
    values = [0.0, 0.0, 0.1, 0.3, 1.0, 0.0]
    found, mirrored = clustered_mean(values, range(6), SHARES), clustered_mean([1 - v for v in values], range(6), SHARES)
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))
    gain, loss = clustered_mean(values, range(6), SIGNED), clustered_mean([-v for v in values], range(6), SIGNED)
    assert (gain.low, gain.high) == pytest.approx((-loss.high, -loss.low))


def test_a_range_of_another_size_only_scales_the_interval() -> None:
    shares = [0.0, 0.25, 1.0, 0.5, 0.0]
    percent = clustered_mean([100 * share for share in shares], range(5), (0, 100))
    assert percent[:3] == pytest.approx([100 * part for part in clustered_mean(shares, range(5), SHARES)[:3]])


@pytest.mark.parametrize("clusters", [10, 30, 100])
@pytest.mark.parametrize("chance", [0.02, 0.1, 0.9])
def test_clustered_shares_near_the_ends_of_their_range_are_held(chance: float, clusters: int) -> None:
    rng = np.random.default_rng(7)
    own = rng.beta(chance * 3, (1 - chance) * 3, size=(1000, clusters))  # answers of a cluster correlate by 1/4
    shares = rng.binomial(32, own) / 32
    limits = mean_limits(shares, np.full_like(shares, 32.0), SHARES)
    assert ((limits.low <= chance) & (chance <= limits.high)).mean() > 0.93


@pytest.mark.parametrize(("better", "worse"), [(0.03, 0.0), (0.05, 0.05), (0.2, 0.1)])
def test_differences_that_few_pairs_make_are_held(better: float, worse: float) -> None:
    rng = np.random.default_rng(8)
    draws = rng.random((1000, 60))
    gains = np.where(draws < better, 1.0, np.where(draws > 1 - worse, -1.0, 0.0))
    limits = mean_limits(gains, np.ones_like(gains), SIGNED)
    truth = better - worse
    assert ((limits.low <= truth) & (truth <= limits.high)).mean() > 0.93
