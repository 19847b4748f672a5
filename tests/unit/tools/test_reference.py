"""The generated reference has every setting and every command, what the paper has is what we have, and messages are real."""

import re
from pathlib import Path

import yaml
from tools import reference
from tools.reference import PAPER, settings
from typer.main import get_command

from pop_selfplay.cli import app
from pop_selfplay.config import RunConfig

ROOT = Path(__file__).parents[3]
SETTINGS = {setting.path: setting for setting in settings(RunConfig)}


def test_every_setting_has_a_row_with_its_default_and_its_bounds() -> None:
    page = reference.settings_page()
    for setting in SETTINGS.values():
        assert f"\n| `{setting.name}` | " in page
    assert "| `candidates` | `32` | whole number ≥ 2" in page
    assert "| `gain_by` | `mean` | `mean`, `low`, `high` |" in page
    assert "](../domains.md)" in page


def test_the_papers_values_are_the_defaults() -> None:
    for path, said in PAPER.items():
        default = SETTINGS[path].default
        assert yaml.safe_load(said.partition(";")[0]) == default, f"{path} is {default!r} here and {said} in the paper"


def test_every_command_has_a_section_with_its_options() -> None:
    page = reference.commands_page()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        section = page.split(f"## `pop {name}`")[1].split("\n## ")[0]
        assert all(f"`{option}`" in section for parameter in command.params for option in parameter.opts if option[0] == "-")


def test_the_messages_that_troubleshooting_explains_are_those_that_are_printed() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    printed = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    printed = re.sub(r'"\s*\n\s*f?"', "", printed)
    messages = re.findall(r"^\| `([^`]+)` \|", page.split("## It runs, but")[0], re.MULTILINE)
    parts = [part.strip(" ,") for message in messages for part in message.split("…") if len(part.strip(" ,")) > 3]
    assert len(messages) > 10 and [part for part in parts if part not in printed] == []
