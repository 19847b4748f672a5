"""A run goes on only while it is seen to help, and says which rule ended it with which figures."""

import math

import pytest

from pop_selfplay.method.stopping import Stop, climb, stop_by_agreement, stop_by_diversity, stop_by_gain
from pop_selfplay.stats.intervals import Estimate


def gain(mean: float, half: float = 0.02) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 100)


def rule_of(stop: Stop | None) -> str | None:
    return None if stop is None else stop.rule


def climbed(*levels: float) -> tuple[int, list[float], tuple[int, ...]]:
    """Climb over rounds 0, 1, … with these levels of accuracy."""
    result = climb(range(len(levels)), lambda before, after: gain(levels[after] - levels[before]))
    return result.best, [round(estimate.mean, 6) for estimate in result.gains], result.over


def test_each_round_is_held_against_the_best_before_it_and_not_against_the_last() -> None:
    assert climbed(0.4, 0.5, 0.45, 0.48) == (1, [0.1, -0.05, -0.02], (0, 1, 1))
    assert climbed(0.4, 0.5, 0.45, 0.6) == (3, [0.1, -0.05, 0.1], (0, 1, 1))


def test_where_no_round_is_better_the_starting_model_stays_the_best() -> None:
    assert climbed(0.4, 0.3, 0.4)[0] == 0
    assert climbed(0.4) == (0, [], ())


def test_a_gain_that_is_not_known_makes_no_round_the_best() -> None:
    assert climb([0, 1], lambda *_: gain(math.nan)).best == 0


@pytest.mark.parametrize(("gain_by", "rule"), [("mean", None), ("high", None), ("low", "min_gain")])
def test_the_gain_is_held_against_the_limit_by_the_end_of_the_interval_that_is_asked_for(
    gain_by: str, rule: str | None
) -> None:
    assert rule_of(stop_by_gain([gain(0.01)], min_gain=0.0, gain_by=gain_by, patience=1)) == rule  # type: ignore[arg-type]


def test_a_gain_of_exactly_the_limit_is_enough() -> None:
    assert stop_by_gain([gain(0.0)], min_gain=0.0, gain_by="mean", patience=1) is None


def test_patience_counts_the_rounds_in_a_row_that_did_not_help() -> None:
    def stop(*gains: float) -> str | None:
        return rule_of(stop_by_gain([gain(g) for g in gains], min_gain=0.01, gain_by="mean", patience=2))

    assert stop(-0.1) is None
    assert stop(-0.1, 0.1, -0.1) is None
    assert stop(0.1, -0.1, 0.0) == "min_gain"


def test_a_gain_that_is_not_known_counts_as_none() -> None:
    assert rule_of(stop_by_gain([gain(math.nan)], min_gain=-1.0, gain_by="mean", patience=1)) == "min_gain"


def test_a_stop_says_the_figure_and_the_limit() -> None:
    stop = stop_by_gain([gain(-0.05), gain(-0.02)], min_gain=0.01, gain_by="high", patience=2)
    assert stop is not None
    assert "+0.0000" in stop.says and "+0.0100" in stop.says and "2 rounds" in stop.says and "high" in stop.says


def test_problems_that_became_less_diverse_than_the_limit_end_the_run() -> None:
    assert rule_of(stop_by_diversity(0.79, min_diversity=0.8)) == "min_diversity"
    assert stop_by_diversity(0.8, min_diversity=0.8) is None
    assert stop_by_diversity(None, min_diversity=0.8) is None


def test_pairs_that_the_truth_contradicts_end_the_run_unless_there_is_nothing_to_tell() -> None:
    assert rule_of(stop_by_agreement(gain(0.69), min_agreement=0.7)) == "min_agreement"
    assert stop_by_agreement(gain(0.7), min_agreement=0.7) is None
    assert stop_by_agreement(Estimate(math.nan, -math.inf, math.inf, 0), min_agreement=0.7) is None
