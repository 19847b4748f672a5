"""Figures are written alike everywhere, and what others wrote cannot command a terminal or break a table."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pop_selfplay.report.eval_tables import duel_tables, evaluation_tables
from pop_selfplay.report.format import decimals, estimate_text, percent, plain, printable
from pop_selfplay.report.live import LiveView
from pop_selfplay.report.tables import reasons_text

EVIL = "[/x] [bold]\x1b[2J\u202e name"
HALF = {"mean": 0.5, "low": 0.25, "high": None, "n": 4}
NOTHING = {"mean": None, "low": None, "high": None, "n": 0}


def test_an_estimate_is_its_mean_with_its_interval_and_says_what_is_unknown() -> None:
    assert estimate_text(HALF, decimals(1, scale=100)) == "50.0 [25.0, ?]"
    assert estimate_text(HALF, decimals(2, signed=True)) == "+0.50 [+0.25, ?]"
    assert estimate_text(HALF, percent) == "50.0% [25.0%, ?]"
    assert estimate_text(NOTHING, plain) == estimate_text(None, plain) == ""


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (123.4, "123"), (-0.123, "-0.12")])
def test_plain_numbers_show_what_says_something(value: float, text: str) -> None:
    assert plain(value) == text


def test_signs_that_command_a_terminal_or_turn_its_direction_become_spaces() -> None:
    assert printable("a\x1b[2J\nb\u202ec\u2066d") == "a [2J b c d"


def shown(what: RenderableType) -> str:
    said = io.StringIO()
    Console(file=said, width=200, force_terminal=True, color_system=None).print(what)
    return said.getvalue()


def evaluation() -> dict[str, Any]:
    row = {"title": EVIL, "scale": 1, "figures": {"accuracy": {"base": HALF, "model": HALF, "difference": HALF}}}
    row |= {"summary": {"flip_rate": HALF}, "lost": {"base": {}, "model": {f"judge_{EVIL}": 2}}}
    return {"model": EVIL, "against": EVIL, "judge": EVIL, "benchmarks": [row], "regressed": []}


def duel() -> dict[str, Any]:
    criteria = {"win_rate": HALF, "score_lead": HALF, "by_name": {EVIL: {"wins": 1, "ties": 0, "losses": 0}}}
    length = {"win_rate": HALF, "mean_words": {"a": None, "b": 3.0}}
    counts = {"wins": 1, "ties": 0, "losses": 0, "forfeits": {"a": 0, "b": 0}, "lost": {}}
    sides = {"a": EVIL, "b": EVIL, "judge": EVIL}
    return {**sides, **counts, "win_rate": HALF, "flip_rate": NOTHING, "length": length, "criteria": criteria}


@pytest.mark.parametrize("tables", [evaluation_tables(evaluation()), duel_tables(duel())])
def test_names_that_others_gave_are_shown_and_never_obeyed(tables: RenderableType) -> None:
    said = shown(tables)
    assert "[/x] [bold]" in said and "\x1b[2J" not in said and "\u202e" not in said


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_and_a_servers_notice_are_shown_and_never_obeyed(terminal: bool) -> None:
    said = io.StringIO()
    with LiveView(Console(file=said, force_terminal=terminal, width=200)) as view:
        view.phase(f"audit: {EVIL} grades")
        view.notice(EVIL)
    assert said.getvalue().count("[/x] [bold]") >= 3 - terminal
    assert "\x1b[2J" not in said.getvalue() and "\u202e" not in said.getvalue()


def test_what_was_repaired_was_not_refused() -> None:
    assert reasons_text({"valid": 9, "repaired": 2, "no_tag": 1, "bad_json": 3}) == "bad_json 3, no_tag 1"
