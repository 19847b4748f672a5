"""The docs list every setting that may change in mid-run."""

import re
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import RunConfig, changed_settings, parse_config
from pop_selfplay.config.run import _FREE

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_settings_that_may_change_in_the_middle_of_a_run_are_listed() -> None:
    text = PAGE.read_text(encoding="utf-8").split("may change in the middle of a run:")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", text)) == _FREE | {"budget", "runner", "episodes_in_flight"}


SERVED = {"type": "endpoint", "base_url": "http://one/v1", "model": "m", "weights": "w"}


def config(**changes: Any) -> RunConfig:
    given = {"domain": "math", "corpus": {"type": "files", "paths": ["t"]}, "model": SERVED, "measure": {"type": "none"}}
    return parse_config(given | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": SERVED | {"base_url": "http://two/v1", "n": "never"}},
        {"teachers": {"judge": SERVED | {"prices": {"prompt": 2}}}},
        {"training": {"type": "grpo", "second_judge": SERVED | {"base_url": "http://two/v1"}}},
        {"budget": {"hours": 3}, "runner": {"type": "ray"}, "synthesis": {"episodes_in_flight": 3}},
    ],
)
def test_where_how_fast_and_for_how_much_is_no_other_work(changes: dict[str, Any]) -> None:
    before = {"training": {"type": "grpo", "second_judge": SERVED}, "teachers": {"judge": SERVED}}
    one, two = config(**before), config(**(before | changes))
    assert one.same_work(two) and changed_settings(one, two) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": SERVED | {"thinking": {"budget": 64}}}, "model.thinking.budget was None, is 64"),
        ({"model": SERVED | {"thinking": {"roles": {"judge": {"budget": 64}}}}}, "model.thinking.roles was {}"),
        ({"model": SERVED | {"extra_body": {"n": 3}}}, "model.extra_body"),
        ({"model": SERVED | {"weights": "v"}}, "model.weights was 'w', is 'v'"),
        ({"teachers": {"judge": SERVED | {"model": "k"}}}, "teachers was {}"),
    ],
)
def test_what_a_model_writes_is_other_work_whatever_the_setting_is_called(changes: dict[str, Any], named: str) -> None:
    one, two = config(), config(**changes)
    assert not one.same_work(two) and named in changed_settings(one, two)[0]
