"""The generated pages of the documentation: `python -m tools.reference`, which `make docs` runs.

    docs/reference/settings.md   every setting, from the config's types: default, range, the paper's value, when to change it
    docs/reference/commands.md   every command and option, from typer
    docs/changelog.md            CHANGELOG.md

When to change a setting is what docs/configuration.md says of it, whose tables a test holds to the config. These pages are not
kept in the repository. A further page is a function and a line in `PAGES`.
"""

import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from typer.core import TyperGroup
from typer.main import get_command

from pop_selfplay.cli import app
from pop_selfplay.config import RunConfig
from pop_selfplay.config.validation import Variants

ROOT: Final = Path(__file__).parents[1]
PAPER: Final[dict[str, str]] = {
    "seed": "42",
    "rounds": "1",
    "synthesis.documents": "4096; 8192 for creative writing",
    "synthesis.candidates": "32",
    "synthesis.min_valid_share": "0.25",
    "synthesis.scoring": "pointwise",
    "synthesis.proposer.temperature": "1.0",
    "synthesis.proposer.top_p": "1.0",
    "synthesis.proposer.max_tokens": "6144",
    "synthesis.proposer.attempts": "5",
    "synthesis.solver.temperature": "1.0",
    "synthesis.solver.top_p": "1.0",
    "synthesis.solver.max_tokens": "6144",
    "synthesis.solver.attempts": "5",
    "synthesis.rubric_writer.temperature": "0.0",
    "synthesis.rubric_writer.max_tokens": "8192",
    "synthesis.judge.temperature": "0.0",
    "synthesis.judge.max_tokens": "4096",
    "pairing.min_std": "0.001",
    "pairing.max_word_difference": "100",
    "training: dpo.batch_size": "16",
    "training: dpo.held_out_share": "0.04",
}
"""Setting → the value that the paper, or its published code, has. The fields of `training.dpo` are in docs/training.md."""


class Setting(NamedTuple):
    """A field of the config. `place` is where it is: "" at the top, "synthesis", or "model: local" for a type of a union."""

    place: str
    name: str
    field: FieldInfo
    default: Any

    @property
    def path(self) -> str:
        return f"{self.place}.{self.name}" if self.place else self.name


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the config types a field may hold, not looking into lists and mappings."""
    if isinstance(annotation, type) and issubclass(annotation, Variants):
        return list(annotation.variants().values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is typing.Annotated:
        return models_in(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in models_in(part)]
    return []


def settings(model: type[BaseModel], place: str = "", instance: BaseModel | None = None) -> Iterator[Setting]:
    """Yield every setting of `model` and of all that it holds. Defaults are those of `instance` where it is given."""
    any_model = models_in(RunConfig.model_fields["model"].annotation)
    for name, field in model.model_fields.items():
        if name == "type":
            continue  # the place tells it
        default = getattr(instance, name) if instance is not None else field.get_default(call_default_factory=True)
        setting = Setting(place, name, field, default)
        yield setting
        inner = models_in(field.annotation)
        if inner == any_model and setting.path != "model":
            continue  # the tables of `model` tell
        if len(inner) == 1:
            yield from settings(inner[0], setting.path, default if isinstance(default, inner[0]) else None)
        else:
            for variant in inner:
                yield from settings(variant, f"{setting.path}: {variant.model_fields['type'].default}")


def advice() -> dict[str, str]:
    """Return setting → when to change it, from the tables of docs/configuration.md."""
    found: dict[str, str] = {}
    place = ""
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            place = ": ".join(part.removeprefix("type: ") for part in re.findall(r"`([^`]+)`", line))
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 4 and cells[0].startswith("`"):
            name = cells[0].strip("`")
            found[f"{place}.{name}" if place else name] = cells[3]
    return found


def allowed(field: FieldInfo) -> str:
    """Return what values a setting may have: its choices, or its type with its bounds."""
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    kinds = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
    kind = next((words for type_, words in kinds.items() if type_ in _parts(field.annotation)), "")
    bounds = []
    for rule in _rules(field):
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (bound := getattr(rule, name, None)) is not None:
                bounds.append(f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}")
    return " ".join([kind, ", ".join(bounds)]).strip()


def _rules(field: FieldInfo) -> list[Any]:
    inner = [rule for part in typing.get_args(field.annotation) for rule in getattr(part, "__metadata__", ())]
    unpacked = [rule for found in (*field.metadata, *inner) for rule in getattr(found, "metadata", [found])]
    return [rule for rule in unpacked if isinstance(rule, annotated_types.BaseMetadata)]


def _parts(annotation: Any) -> list[Any]:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [kind for part in parts for kind in _parts(part)]
    return [annotation]


def _choices(annotation: Any) -> list[str]:
    found = [typing.get_args(part) for part in _parts(annotation) if typing.get_origin(part) is typing.Literal]
    return [str(choice) for choices in found for choice in choices]


def settings_page() -> str:
    """Return the page of all settings."""
    when, lines = advice(), ["# All settings", "", _ABOUT]
    places: dict[str, list[Setting]] = {}
    for setting in settings(RunConfig):
        places.setdefault(setting.place, []).append(setting)
    for place, held in places.items():
        title = " of type ".join(f"`{part}`" for part in place.split(": ")) if place else "Top level"
        lines += ["", f"## {title}", "", f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|"]
        lines += [_row(setting, when.get(setting.path, "")) for setting in held]
    return "\n".join(lines) + "\n"


_ABOUT: Final = (
    "Made from the types of the config. [Configuration](../configuration.md) has examples and explains what belongs together; "
    "`pop schema config` prints the same as a JSON schema. In the paper's column, – means that the paper has no such setting."
)


_END_OF_SCALAR: Final = "...\n"
_COLUMNS: Final = ("setting", "default", "allowed", "the paper", "what", "when to change it")
_LINK: Final = re.compile(r"\]\((?=[\w-]+\.md)")


def _row(setting: Setting, when: str) -> str:
    if setting.field.is_required():
        default = "*required*"
    elif isinstance(setting.default, BaseModel):
        kind = getattr(setting.default, "type", None)
        default = "see below" if kind is None else f"`type: {kind}`"
    else:
        plain = yaml.safe_dump(to_jsonable_python(setting.default), default_flow_style=True)
        default = f"`{plain.removesuffix(_END_OF_SCALAR).strip()}`"
    what = (setting.field.description or "").replace("|", "\\|")
    when = _LINK.sub("](../", when)
    cells = [f"`{setting.name}`", default, allowed(setting.field), PAPER.get(setting.path, "–"), what, when]
    return f"| {' | '.join(cells)} |"


def commands_page() -> str:
    """Return the page of all commands."""
    group = typing.cast(TyperGroup, get_command(app))
    lines = ["# All commands", "", "Made from the command line itself: `pop COMMAND --help` prints the same.", ""]
    for name, command in group.commands.items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        named = " ".join(str(argument.metavar or argument.name).upper() for argument in arguments)
        usage = " ".join(word for word in ("pop", name, named, "[OPTIONS]") if word)
        lines += [f"## `pop {name}`", "", (command.help or "").replace("\n", " ").strip(), "", f"    {usage}", ""]
        options: list[Any] = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        if options:
            lines += ["| option | default | what |", "| --- | --- | --- |"]
            for option in options:
                lines.append(f"| {', '.join(f'`{text}`' for text in option.opts)} | {_shown(option)} | {_help(option)} |")
            lines.append("")
    return "\n".join(lines)


def _shown(option: Any) -> str:
    if option.is_flag or option.default in (None, ()) or callable(option.default):
        return f"`{option.show_default}`" if isinstance(option.show_default, str) else ""
    return f"`{option.default}`"


def _help(option: Any) -> str:
    return (option.help or "").replace("|", "\\|")


def changelog_page() -> str:
    """Return the changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "changelog.md": changelog_page,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (ROOT / "docs" / page).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"wrote docs/{page}\n")
