"""Strengths come out as they were put in, features take away what they explain, and Elo is only another scale."""

import math
import random

import pytest

from pop_selfplay.stats.comparisons import Game, elo, strengths
from pop_selfplay.text.words import Style, style_difference, style_of


def tournament(truth: dict[str, float], count: int, effect: float = 0.0) -> tuple[list[Game], list[list[float]]]:
    """Return games drawn by the true strengths; the first player's answers are longer, which judges like by `effect`."""
    rng = random.Random(2)
    games, features = [], []
    first = min(truth)
    for _ in range(count):
        a, b = rng.sample(sorted(truth), 2)
        longer = rng.gauss((a == first) - (b == first), 1.0)
        chance = 1 / (1 + math.exp(truth[b] - truth[a] - effect * longer))
        games.append(Game(a, b, float(rng.random() < chance)))
        features.append([longer])
    return games, features


def test_strengths_are_recovered_and_the_anchor_is_zero() -> None:
    truth = {"a": 0.0, "b": 0.7, "c": -0.5}
    games, _ = tournament(truth, 6000)
    found = strengths(games, "a").by_player
    assert found == pytest.approx(truth, abs=0.12) and found["a"] == 0


def test_a_feature_takes_away_the_lead_that_it_explains() -> None:
    games, features = tournament({"a": 0.0, "b": 0.0}, 6000, effect=1.0)
    assert strengths(games, "b").by_player["a"] > 0.5
    controlled = strengths(games, "b", features)
    assert controlled.by_player["a"] == pytest.approx(0, abs=0.12) and controlled.effects[0] > 0.8


def test_weights_count_a_game_as_often_and_draws_pull_together() -> None:
    thrice = strengths([Game("a", "b", 1.0, 3.0), Game("a", "b", 0.0)], "b").by_player["a"]
    assert thrice == pytest.approx(strengths([Game("a", "b", 1.0)] * 3 + [Game("a", "b", 0.0)], "b").by_player["a"])
    assert strengths([Game("a", "b", 0.5)] * 4, "b").by_player["a"] == pytest.approx(0)


def test_who_wins_everything_has_a_finite_strength_and_no_games_give_only_the_anchor() -> None:
    assert 3 < strengths([Game("a", "b", 1.0)] * 50, "b").by_player["a"] < 20
    assert strengths([], "b").by_player == {"b": 0.0}
    assert strengths([Game("a", "b", 0.5)] * 3, "b", [[2.0]] * 3).effects == (0.0,)


def test_four_hundred_points_are_ten_to_one() -> None:
    assert elo(0.0) == 1000 and elo(math.log(10)) == pytest.approx(1400)
    assert 1 / (1 + 10 ** ((elo(0.0) - elo(0.7)) / 400)) == pytest.approx(1 / (1 + math.exp(-0.7)))


def test_style_counts_marks_outside_of_code() -> None:
    text = "# Title\n\nSome **bold** and __more__ words\n- one\n- two\n1. three\n```\n# comment\n- no item\n```\n"
    assert style_of(text)[1:] == (1, 3, 2)
    assert style_of("") == Style(0, 0, 0, 0)


def test_style_differences_are_antisymmetric_and_zero_between_equals() -> None:
    long, short = Style(300, 2, 5, 3), Style(100, 0, 0, 0)
    assert style_difference(long, short)[0] == 0.5
    assert style_difference(long, short) == pytest.approx([-x for x in style_difference(short, long)])
    assert style_difference(long, long) == (0, 0, 0, 0) == style_difference(Style(0, 0, 0, 0), Style(0, 0, 0, 0))


def test_a_feature_that_is_the_same_everywhere_is_left_out() -> None:
    games = [Game("a", "b", 1.0)] * 9 + [Game("a", "b", 0.0)]
    with_feature = strengths(games, "b", [[0.1 + 0.2]] * 5 + [[0.3]] * 5)
    assert with_feature.by_player["a"] == pytest.approx(strengths(games, "b").by_player["a"])
