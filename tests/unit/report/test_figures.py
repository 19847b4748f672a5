"""Figures are written alike everywhere, and what others wrote cannot command a terminal or break a table."""

import io

import pytest
from rich.console import Console, RenderableType
from tests.unit.report.makers import HALF, NOTHING, duel_result, estimate, eval_result

from pop_selfplay.report.eval_tables import duel_tables, evaluation_tables
from pop_selfplay.report.live import LiveView
from pop_selfplay.report.tables import decimals, estimate_text, percent, plain, printable, reasons_text

EVIL = "[/x] [bold]\x1b[2J\u202e name"


def test_an_estimate_is_its_mean_with_its_interval_and_says_what_is_unknown() -> None:
    half = estimate(HALF)
    assert estimate_text(half, decimals(1, scale=100)) == "50.0 [25.0, ?]"
    assert estimate_text(half, decimals(2, signed=True)) == "+0.50 [+0.25, ?]"
    assert estimate_text(half, percent) == "50.0% [25.0%, ?]"
    assert estimate_text(estimate(NOTHING), plain) == estimate_text(None, plain) == ""


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (123.4, "123"), (-0.123, "-0.12")])
def test_plain_numbers_show_what_says_something(value: float, text: str) -> None:
    assert plain(value) == text


def test_signs_that_command_a_terminal_or_turn_its_direction_become_spaces() -> None:
    assert printable("a\x1b[2J\nb\u202ec\u2066d") == "a [2J b c d"


def shown(what: RenderableType) -> str:
    said = io.StringIO()
    Console(file=said, width=200, force_terminal=True, color_system=None).print(what)
    return said.getvalue()


@pytest.mark.parametrize("tables", [evaluation_tables(eval_result(EVIL)), duel_tables(duel_result(EVIL))])
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
