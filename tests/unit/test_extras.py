"""A small core, and extras: what pyproject.toml declares is what each room imports, and what is missing is said."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tools.extras import PROBES, WITH_TORCH
from tools.house import PACKAGE, modules

import pop_selfplay as pop
from pop_selfplay.cli import run
from pop_selfplay.errors import MissingExtra
from pop_selfplay.extras import EXTRAS, INCLUDED, absent, install_line, missing_extra, need
from pop_selfplay.models import open_model
from pop_selfplay.selfplay import need_extras
from pop_selfplay.training import TRAINERS
from tests.unit.test_layering import foreign

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULE_OF = {"pyyaml": "yaml", "pop-selfplay": "", "pydantic-core": "pydantic_core"} | {
    "markdown-it-py": "markdown_it",
    "mdit-py-plugins": "mdit_py_plugins",
}
"""Distribution → the module it brings, where the two differ."""
ROOMS = {
    "training": ("train", "local", "hub", "ray"),
    "scale": ("ray",),
    "models.local": ("local", "constrain"),
    "corpus.reader": ("hub",),
    "exports": ("hub",),
    "evaluation.inspect_adapter": ("eval",),
    "evaluation.benchmarks": ("eval",),
    "viewer": ("view",),
    "report.charts": ("report",),
}
"""Room → the extras whose modules may be imported there. Everywhere else only the core's may."""
IN_FUNCTIONS = {"corpus.reader", "exports"}
"""Rooms that import what an extra brings only when they need it."""
CORE_CONFIG: dict[str, Any] = {
    "domain": "health_care",
    "corpus": {"type": "pocket"},
    "model": {"type": "simulated"},
    "training": {"type": "none"},
}


def names(requirements: list[str]) -> set[str]:
    """Return the modules that these requirements bring."""
    found = {re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0] for requirement in requirements}
    return {MODULE_OF.get(name, name) for name in found} - {""}


def included(requirements: list[str]) -> set[str]:
    return {part for line in requirements if line.startswith("pop-selfplay[") for part in line[13:-1].split(",")}


CORE = names(PYPROJECT["dependencies"])
DECLARED = PYPROJECT["optional-dependencies"]


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let these modules seem not to be installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in missing else found(name, *rest))


def test_the_extras_in_pyproject_bring_the_modules_that_the_table_says() -> None:
    assert {extra: names(lines) for extra, lines in DECLARED.items() if extra != "all"} == {
        extra: set(modules) for extra, modules in EXTRAS.items()
    }
    assert {extra: included(lines) for extra, lines in DECLARED.items() if included(lines) and extra != "all"} == {
        extra: set(parts) for extra, parts in INCLUDED.items()
    }
    assert included(DECLARED["all"]) == set(EXTRAS)


@pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)
def test_every_import_is_declared_and_only_the_rooms_of_an_extra_import_what_it_brings(module: Any) -> None:
    inside = module.name.removeprefix(f"{PACKAGE}.")
    extras = next((extras for room, extras in ROOMS.items() if inside == room or inside.startswith(f"{room}.")), ())
    allowed = CORE | {name for extra in extras for name in EXTRAS[extra]}
    outside = {name.split(".")[0] for name in foreign(module)} - set(sys.stdlib_module_names) - {PACKAGE}
    assert outside <= allowed, f"{module.name} imports {sorted(outside - allowed)}"


def test_every_core_module_can_be_imported_where_no_extra_is_installed() -> None:
    core = [
        name for name in modules() if not name.removeprefix(f"{PACKAGE}.").startswith((*ROOMS.keys() - {"exports"}, "__main__"))
    ]
    core += [f"{PACKAGE}.training", f"{PACKAGE}.training.distributed", f"{PACKAGE}.evaluation.benchmarks"]
    kept_out = sorted({name for names in EXTRAS.values() for name in names})
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({kept_out}))\n"  # None there: an import of it fails
        f"for name in {core}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_says_what_it_lacks_before_it_begins_and_only_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *(name for names in EXTRAS.values() for name in names))
    need_extras(pop.parse_config(CORE_CONFIG), training=True)
    served = {"type": "endpoint", "base_url": "http://localhost:1/v1", "model": "m", "weights": "w"}
    trains = pop.parse_config({**CORE_CONFIG, "model": served, "training": {"type": "dpo"}})
    need_extras(trains, training=False)
    with pytest.raises(MissingExtra, match=r"training.type dpo needs torch.*: pip install 'pop-selfplay\[train\]'$"):
        need_extras(trains, training=True)
    local = {**CORE_CONFIG, "teachers": {"judge": {"type": "local", "path": "judge/"}}}
    with pytest.raises(MissingExtra, match=r"model.type local needs .*\[local\]"):
        need_extras(pop.parse_config(local), training=False)
    hub = {**CORE_CONFIG, "corpus": {"type": "hugging_face", "path": "someone/texts"}}
    with pytest.raises(MissingExtra, match=r"corpus.type hugging_face needs .*\[hub\]"):
        need_extras(pop.parse_config(hub), training=False)


def test_every_trainer_of_the_package_needs_the_training_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "trl")
    for kind in TRAINERS:
        config = pop.parse_config({**CORE_CONFIG, "model": {"type": "pocket"}, "domain": "pocket", "training": {"type": kind}})
        with pytest.raises(MissingExtra, match="needs trl, not installed here"):
            need_extras(config, training=True)


def test_a_model_that_is_opened_without_its_extra_says_which_line_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    with pytest.raises(MissingExtra, match=r"model.type pocket needs torch, .*pip install 'pop-selfplay\[local\]'"):
        open_model(pop.parse_config({**CORE_CONFIG, "domain": "pocket", "model": {"type": "pocket"}}).model)


def test_an_import_that_fails_for_a_missing_extra_is_told_from_every_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'torch._C'", name="torch._C")) is None, "it is installed"
    assert missing_extra(ModuleNotFoundError("No module named 'yaml'", name="yaml")) is None
    assert missing_extra(ModuleNotFoundError("no name")) is None
    without(monkeypatch, "torch")
    assert missing_extra(ModuleNotFoundError("No module named 'yaml'", name="yaml")) is None
    assert "[local]" in str(missing_extra(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")))


def test_a_command_that_meets_a_missing_extra_leaves_with_2_and_lets_other_failed_imports_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def import_of(name: str) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return fail

    without(monkeypatch, "inspect_ai")
    monkeypatch.setattr("pop_selfplay.cli._command", lambda: import_of("inspect_ai"))
    assert run(["eval", "m"]) == 2
    assert capsys.readouterr().err == (
        "pop: MissingExtra: this needs inspect_ai, not installed here: pip install 'pop-selfplay[eval]'\n"
    )
    monkeypatch.setattr("pop_selfplay.cli._command", lambda: import_of("yaml"))
    with pytest.raises(ModuleNotFoundError):
        run(["eval", "m"])


def test_what_is_absent_is_named_with_what_the_extra_includes(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "datasets", "trl")
    assert absent("train") == ["torch", "datasets", "trl"] and absent("eval") == []
    with pytest.raises(MissingExtra, match=r"^a cat needs torch, datasets, trl"):
        need("train", "a cat")
    assert install_line("train", "view") == "pip install 'pop-selfplay[train,view]'"


def test_every_extra_is_tried_out_in_an_environment_of_its_own() -> None:
    assert set(PROBES) == {"core", *DECLARED}
    assert {extra for extra, lines in DECLARED.items() if "local" in {extra, *included(lines)}} == set(WITH_TORCH)
