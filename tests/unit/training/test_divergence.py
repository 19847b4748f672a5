"""The rules that stop a training, and how seldom chance sets them off."""

import math
import random

import pytest

from pop_selfplay.training.callbacks import CHANCE, STEPS, running_backwards, under_chance


def margins(right: int, wrong: int, ties: int = 0) -> list[float]:
    return [0.1] * right + [-0.1] * wrong + [0.0] * ties


@pytest.mark.parametrize(
    ("right", "wrong", "fires"),
    [
        (0, 13, False),
        (0, 14, True),
        (3, 25, True),
        (8, 16, False),
        (40, 60, False),
        (30, 70, True),
        (100, 0, False),
        (0, 0, False),
    ],
)
def test_only_what_chance_hardly_does_is_under_chance(right: int, wrong: int, fires: bool) -> None:
    assert under_chance(margins(right, wrong)) is fires


def test_pairs_without_a_difference_say_nothing() -> None:
    assert not under_chance(margins(5, 5, ties=1000))
    assert under_chance(margins(0, 14, ties=1000))


@pytest.mark.parametrize("pairs", [10, 14, 24, 160, 1000])
def test_a_fair_coin_sets_it_off_less_than_once_in_ten_thousand_looks(pairs: int) -> None:
    firing = [right for right in range(pairs + 1) if under_chance(margins(right, pairs - right))]
    assert sum(math.comb(pairs, right) for right in firing) / 2**pairs < CHANCE
    assert bool(firing) is (pairs >= 14)


def test_a_row_of_losing_steps_stops_only_when_it_is_long_and_unbroken() -> None:
    assert running_backwards([0.1] * 100 + [-0.01] * STEPS)
    assert not running_backwards([-0.01] * (STEPS - 1))
    assert not running_backwards([-0.01] * STEPS + [0.0])
    assert not running_backwards([-0.01] * 10 + [0.02] + [-0.01] * (STEPS - 1))


def test_noise_does_not_look_like_running_backwards() -> None:
    draw = random.Random(1)
    steps = [draw.gauss(0, 1) for _ in range(20_000)]
    assert not any(running_backwards(steps[: end + 1][-STEPS:]) for end in range(len(steps)))
