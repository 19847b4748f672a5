"""A figure warns beyond its limit, says when that is not certain, and is never blank."""

import math

import pytest

from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit import THRESHOLDS, limits_with
from pop_selfplay.evaluation.audit.findings import Family
from pop_selfplay.results.audit import MissingFigure
from pop_selfplay.stats.intervals import Estimate


def add(mean: float, low: float, high: float, limit: str, size: bool = False) -> Family:
    family = Family("x", "?", THRESHOLDS)
    family.measured("f", "f", Estimate(mean, low, high, 9), good="fine", bad="bad", limit=limit, size=size)
    return family


@pytest.mark.parametrize(("mean", "warns"), [(0.71, False), (0.7, False), (0.69, True)])
def test_a_figure_that_should_be_high_warns_below_its_limit(mean: float, warns: bool) -> None:
    (figure,) = add(mean, mean - 0.001, mean + 0.001, "gap.best_worst").figures
    assert figure.warns is warns and figure.reading.startswith("bad" if warns else "fine")


@pytest.mark.parametrize(("mean", "warns"), [(0.29, False), (-0.29, False), (0.31, True), (-0.31, True)])
def test_a_limit_of_size_warns_on_both_sides_of_zero(mean: float, warns: bool) -> None:
    (figure,) = add(mean, mean - 0.001, mean + 0.001, "bias.length", size=True).figures
    assert figure.warns is warns


def test_it_says_so_when_the_limit_lies_within_the_interval() -> None:
    for mean in (0.69, 0.71):
        assert "not certain" in add(mean, 0.6, 0.8, "gap.best_worst").figures[0].reading
    assert "not certain" not in add(0.9, 0.8, 0.95, "gap.best_worst").figures[0].reading
    assert "not certain" in add(-0.31, -0.4, -0.2, "bias.length", size=True).figures[0].reading


def test_an_estimate_over_nothing_is_missing_with_a_reason_and_never_a_number() -> None:
    (figure,) = add(math.nan, -math.inf, math.inf, "gap.best_worst").figures
    shown = figure.reported
    assert figure.missing and not figure.warns and isinstance(shown, MissingFigure) and shown.missing


def test_every_limit_can_be_set_and_an_unknown_one_is_refused_with_the_list() -> None:
    limits = limits_with(["bias.flips=0.5", "gap.spearman=-1"])
    assert limits["bias.flips"].value == 0.5 and limits["gap.spearman"].value == -1
    assert limits["bias.ties"] == THRESHOLDS["bias.ties"]
    for wrong in ("bias.flip=0.5", "bias.flips", "bias.flips=high", "bias.flips=nan"):
        with pytest.raises(UsageError, match=r"bias\.flips=0\.3"):
            limits_with([wrong])
