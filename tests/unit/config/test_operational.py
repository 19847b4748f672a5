"""The docs list every setting that may change in mid-run."""

import re
from pathlib import Path

from pop_selfplay.config.run import _FREE

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_settings_that_may_change_in_the_middle_of_a_run_are_listed() -> None:
    text = PAGE.read_text(encoding="utf-8").split("may change in the middle of a run:")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", text)) == _FREE
