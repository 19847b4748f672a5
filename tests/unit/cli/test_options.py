"""Every number on the command line has a range, and what is outside of it is refused by the name of its option."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from typer.main import get_command

from pop_selfplay.cli import app, run

COMMANDS: dict[str, Any] = vars(get_command(app))["commands"]


def numbers() -> Iterator[tuple[str, Any]]:
    """Yield every option of a number, with its command."""
    for name, command in COMMANDS.items():
        for option in command.params:
            annotation = option.type_descriptor.annotation
            if {annotation, *get_args(annotation)} & {int, float}:
                yield name, option


OPTIONS = [pytest.param(name, option, id=f"{name} {option.opts[0]}") for name, option in numbers()]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_number_has_a_range_and_nothing_beyond_it_is_taken(
    name: str, option: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert option.min is not None and option.max is not None, "give it min and max"
    for value in (f"{option.min - 1}", f"{option.max * 2 + 1}", "1e400", "-inf", "nan", "1" + "0" * 5000, "two", ""):
        assert run([name, option.opts[0], value]) == 2, value
        said = capfd.readouterr().err
        assert option.opts[0] in said and len(said) < 1000, value


def test_the_options_are_found_at_all() -> None:
    found = {parameter.id for parameter in OPTIONS}
    assert {"duel --temperature", "simulate --speedup", "eval --limit", "quickstart --seed"} <= found and len(found) > 25
