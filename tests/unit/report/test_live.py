import io

import pytest
from rich.console import Console

from pop_selfplay.journal import Tally
from pop_selfplay.report.live import LiveView, seconds_left


def test_while_no_episode_is_finished_the_calls_tell_how_long_it_takes() -> None:
    assert seconds_left(10, episodes=0.0, calls=0.25) == pytest.approx(30)


def test_a_plan_that_was_too_low_never_makes_a_phase_look_done() -> None:
    assert seconds_left(99, episodes=0.5, calls=3.0) == pytest.approx(1)


def test_with_nothing_done_nothing_is_said() -> None:
    assert seconds_left(10, 0.0, 0.0) is None
    assert seconds_left(10, 0.0, 0.01) is None  # the first calls of thousands


@pytest.mark.parametrize("terminal", [True, False])
def test_a_notice_is_a_line_that_stays(terminal: bool) -> None:
    said = io.StringIO()
    with LiveView(Console(file=said, force_terminal=terminal, width=80)) as view:
        view.phase("synthesis", 3)
        view.notice("http://host/v1 cannot be reached; paused, waiting up to 600 s [for] it")
    assert "! http://host/v1 cannot be reached; paused, waiting up to 600 s [for] it" in said.getvalue()


def test_the_end_of_a_log_keeps_its_lines_and_nothing_that_a_terminal_obeys() -> None:
    said = io.StringIO()
    with LiveView(Console(file=said, width=40)) as view:
        view.notice("vLLM ended; its log ends:\n    loading \x1b[31mweights\n    out of memory")
    assert said.getvalue() == "! vLLM ended; its log ends:\n    loading  [31mweights\n    out of memory\n"


def test_progress_counts_what_was_read_beside_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, *[100.0] * 20])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    said, tally = io.StringIO(), Tally()
    with LiveView(Console(file=said, width=200)) as view:
        view.phase("synthesis", 3, 400)
        tally.add_calls(1, "proposer", "", 4, 4000, 1000, 40)
        view.refresh(tally, 0.0)
    assert "0.4 tokens/s, 30 read" in said.getvalue() and "left" not in said.getvalue()


def test_only_a_phase_that_ended_well_gets_the_green_mark() -> None:
    said = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LiveView(Console(file=said, width=80)) as view:
        view.phase("reading the corpus")
        view.phase("round 1: synthesis", 3)
        raise KeyboardInterrupt
    assert "✓ reading the corpus  " in said.getvalue() and said.getvalue().count("✓") == 1
    assert "✗ round 1: synthesis stopped after " in said.getvalue()
