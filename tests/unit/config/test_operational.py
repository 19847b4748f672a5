"""The docs list every setting that may change in mid-run, and every one that makes no difference to a fork."""

import re
from pathlib import Path

from pop_selfplay.config import OPERATIONAL
from pop_selfplay.config.run import _FREE

DOCS = Path(__file__).parents[3] / "docs"


def listed(page: str, start: str, end: str) -> set[str]:
    """Return the names in backquotes between two marks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8").split(start)[1].split(end)[0]
    return set(re.findall(r"`(\w+)`", text))


def test_the_settings_that_may_change_in_the_middle_of_a_run_are_listed() -> None:
    assert listed("configuration.md", "may change in the middle of a run:", "\n\n") == _FREE


def test_the_settings_that_make_no_difference_to_a_fork_are_listed() -> None:
    assert listed("run-directory.md", "Where it is served, how fast and for how much", "make no difference") == OPERATIONAL
