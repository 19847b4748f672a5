"""Where two factors are crossed, both add to the interval."""

import math

import numpy as np
import pytest
from benchmarks.crossed_bootstrap import Ratio, bootstrap_crossed


def test_repeating_the_same_plants_adds_no_certainty_and_what_seeds_add_is_seen() -> None:
    rng = np.random.default_rng(0)
    plants, ones = rng.normal(0, 1, 100), np.ones((5, 100))
    found = bootstrap_crossed(Ratio(np.tile(plants, (5, 1)), ones))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * plants.std() / 10, rel=0.15) and found.n == 500
    with_seeds = bootstrap_crossed(Ratio(plants + rng.normal(0, 1, (5, 1)), ones))
    assert with_seeds.high - with_seeds.low > 2 * (found.high - found.low)


def test_a_ratio_weighs_by_what_is_below() -> None:
    assert bootstrap_crossed(Ratio(np.array([[10.0, 1.0]]), np.array([[100.0, 1.0]]))).mean == pytest.approx(11 / 101)


def test_a_difference_of_what_moves_together_is_sharp() -> None:
    rng = np.random.default_rng(1)
    base, ones = rng.normal(0, 1, (5, 80)), np.ones((5, 80))
    found = bootstrap_crossed(Ratio(base + 0.3, ones), Ratio(base, ones))
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3))


def test_one_level_of_a_factor_gives_no_false_certainty() -> None:
    assert bootstrap_crossed(Ratio(np.ones((1, 9)), np.ones((1, 9)))).high == math.inf
    assert bootstrap_crossed(Ratio(np.ones((9, 1)), np.ones((9, 1)))).low == -math.inf


def test_draws_without_anything_below_are_left_out() -> None:
    found = bootstrap_crossed(Ratio(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[2.0, 0.0], [2.0, 0.0]])))
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
