"""Whatever stands in a config that does not belong there, the command ends with 2 and names the setting."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pop_selfplay.cli import run
from pop_selfplay.cli.commands import Described, schema_of

SCHEMA = json.loads(schema_of(Described.CONFIG))
UNBOUNDED = {"min_gain"}
"""Numbers that may be anything: a gain is measured on a scale of the measure's own."""
COMPLETE: dict[str, dict[str, Any]] = {
    "files": {"paths": ["t"]},
    "hugging_face": {"path": "p"},
    "local": {"path": "p"},
    "vllm": {"path": "p"},
    "endpoint": {"base_url": "http://localhost/v1", "model": "m", "weights": "m"},
}
"""What each type of a union cannot do without."""
GOOD: dict[str, Any] = {"domain": "math", "corpus": {"type": "pocket"}, "model": {"type": "pocket"}}
Place = tuple[str, ...]


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    return {**SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node


def settings(
    node: dict[str, Any], place: Place, around: dict[Place, Any]
) -> Iterator[tuple[Place, dict[Place, Any], dict[str, Any]]]:
    """Yield every setting below `node`: its place, what has to be set for it to be there, and its schema."""
    for name, field in resolved(node).get("properties", {}).items():
        kinds = [resolved(kind) for kind in field.get("anyOf", [field])]
        nullable = any(kind.get("type") == "null" for kind in kinds)
        kinds = [kind for kind in kinds if kind.get("type") != "null"]
        kind = kinds[0] if len(kinds) == 1 else {"type": "mixed"}
        here = (*place, name)
        if "const" not in kind:
            yield here, around, {**kind, "nullable": nullable}
        for variant in map(resolved, kind.get("oneOf", [])):
            type_ = variant["properties"]["type"]["const"]
            if len(here) < 3:  # a model within a model's settings is like any other
                yield from settings(variant, here, around | {here: {"type": type_, **COMPLETE.get(type_, {})}})
        if kind.get("type") == "object" and "oneOf" not in kind:
            yield from settings(kind, here, around)


def wrong_values(schema: dict[str, Any]) -> list[Any]:
    kind = "union" if "oneOf" in schema else "enum" if "enum" in schema else schema.get("type", "any")
    wrong: list[Any] = {
        "integer": [10**30, 10**18, -(10**9), True, "many", 2.5, [1], {"a": 1}],
        "number": [1e300, float("nan"), False, "much", [1], {"a": 1}],
        "boolean": ["perhaps", 7, [True], {}],
        "string": [7, ["a"], {"a": "b"}, "a\0b", ""],
        "enum": ["nonsense", 3, ["a"], None],
        "array": [3, "text", {"a": 1}, [{"a": [1]}]],
        "object": [3, "text", [1]],
        "mixed": [3, {"a": "b"}, True],
        "union": [3, "text", [1], {"type": "nonsense"}, {"type": 7}, {"type": "none", "nonsense": 1}],
    }.get(kind, [])
    return [value for value in wrong if value is not None] + ([] if schema["nullable"] or not wrong else [None])


def with_wrong(place: Place, around: dict[Place, Any], wrong: Any) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    for where, value in copy.deepcopy({**around, place: wrong}).items():
        node: dict[str, Any] = data
        for step in where[:-1]:
            node = node.setdefault(step, {})
        node[where[-1]] = value
    return data


def test_every_number_has_bounds() -> None:
    for place, _, schema in settings(SCHEMA, (), {}):
        if schema.get("type") in ("integer", "number") and place[-1] not in UNBOUNDED:
            assert schema.keys() & {"minimum", "exclusiveMinimum"} and schema.keys() & {"maximum", "exclusiveMaximum"}, place


def test_whatever_stands_in_place_of_a_setting_ends_with_2_and_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, tried = tmp_path / "c.yaml", 0
    for number, (place, around, schema) in enumerate(settings(SCHEMA, (), {})):
        wrong = wrong_values(schema)
        for value in [wrong[(number + 3 * turn) % len(wrong)] for turn in range(min(2, len(wrong)))]:
            path.write_text(yaml.safe_dump(with_wrong(place, around, value)), encoding="utf-8")
            code = run(["synth", str(path), "--dry-run"])
            said = capfd.readouterr().err
            assert code == 2 and place[-1] in said and "ConfigError" in said, (place, value, code, said)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize("command", ["run", "synth", "pairs", "train", "status", "audit", "init"])
@pytest.mark.parametrize("name", ["x" * 300, "x/" * 2600, "x/" * 1000 + "y" * 3000])
def test_a_name_that_no_file_has_ends_with_2(command: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command, name]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and name[:100] in said


@pytest.mark.parametrize("setting", ["domain", "model.path", "corpus.path"])
def test_a_name_that_no_file_has_is_refused_in_a_config(
    setting: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    types = ["--set", "model={type: local, path: p}", "--set", "corpus={type: hugging_face, path: p}"]
    for name in ("x" * 300, "x/" * 2600):
        assert run(["synth", str(tmp_path / "c.yaml"), "--dry-run", *types, "--set", f"{setting}={name}"]) == 2
        assert f"{setting}: " in capfd.readouterr().err
