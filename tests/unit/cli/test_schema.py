"""The published JSON schemas are those of the code, describe every field, and hold for what the commands write."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from tests.unit.report.makers import audit_result, duel_result, eval_result, figure, round_result, run_result

from pop_selfplay import __version__
from pop_selfplay.cli import run
from pop_selfplay.cli.commands import Described, schema_of
from pop_selfplay.config import load_config

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "docs" / "schemas"


def validator(of: Described) -> Draft202012Validator:
    schema = json.loads(schema_of(of))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("of", Described)
def test_the_published_copy_is_what_the_command_prints(of: Described, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", of]) == 0
    printed = capfd.readouterr().out
    published = (SCHEMAS / f"{of}.json").read_text(encoding="utf-8")
    assert printed == published, f"write it again: pop schema {of} > docs/schemas/{of}.json"
    assert json.loads(printed)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def undescribed(schema: dict[str, Any]) -> Iterator[str]:
    """Yield every field without a description of its own or of its type; a `type` names its variant and needs none."""
    for name, kind in [("", schema), *schema["$defs"].items()]:
        for field, of in kind.get("properties", {}).items():
            referred = schema["$defs"].get(of.get("$ref", "").rpartition("/")[2], {})
            if not (of.get("description") or referred.get("description") or "const" in of):
                yield f"{name}.{field}"


@pytest.mark.parametrize("of", Described)
def test_every_field_has_a_description(of: Described) -> None:
    assert list(undescribed(json.loads(schema_of(of)))) == []


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (Described.RESULT, run_result(round_result()).to_json()),
        (Described.EVAL, eval_result("m").to_json()),
        (Described.DUEL, duel_result("m").to_json()),
        (Described.AUDIT, audit_result(figure(), figure(missing="no judge")).to_json()),
    ],
)
def test_results_are_valid_and_one_with_a_foreign_or_a_missing_field_is_not(of: Described, text: str) -> None:
    data = json.loads(text)
    validator(of).validate(data)
    with pytest.raises(ValidationError):
        validator(of).validate(data | {"foreign": 1})
    with pytest.raises(ValidationError):
        validator(of).validate({name: value for name, value in data.items() if name not in ("seed", "round")})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_vetted_configs_are_valid(path: Path) -> None:
    validator(Described.CONFIG).validate(load_config(path).model_dump(mode="json"))


def test_an_unknown_schema_is_refused_with_the_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "resutl"]) == 2
    assert "'result', 'eval', 'audit', 'duel', 'rejudge', 'config'" in capfd.readouterr().err


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"pop {__version__}\n"
