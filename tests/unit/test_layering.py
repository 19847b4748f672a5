"""Who may import whom: the rooms of the house and the walls between them. Imports in functions count like all others."""

import ast

import pytest
from tools.house import PACKAGE, Module, cycles, imports, modules

LAYERS = (
    # what everything speaks of
    {"errors", "records", "seeds"},
    {"tasks", "extras"},
    # pure functions: no I/O, no torch
    {"stats"},
    {"results", "text"},
    {"method"},
    {"judging"},
    # what a run is, and where it is written down
    {"config"},
    {"domains", "pocket"},
    {"journal"},
    {"labels", "models", "corpus", "observer"},
    # one episode
    {"stages"},
    {"episode"},
    # a whole run
    {"runs"},
    {"pairing", "plan", "scale"},
    {"rewards"},
    {"exports"},
    {"evaluation", "training"},
    {"report"},
    {"selfplay", "viewer"},
    # how it is called
    {"api", "doctor"},
    {"cli"},
    {"__main__"},
)
"""From the ground up. A room imports only what lies in a layer below its own."""
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "datasets"}
TORCH_ROOMS = {"training", "models.local", "corpus.reader"}
INSPECT = {"inspect_ai", "inspect_evals"}
INSPECT_ROOMS = {"evaluation.inspect_adapter", "evaluation.benchmarks."}

EVERY = [module for name, module in modules().items() if name != PACKAGE]
"""But the package itself, which only hands on what the api has."""


def room_of(name: str) -> str:
    return name.split(".")[1]


def foreign(module: Module, *, at_once: bool = False) -> set[str]:
    """Return what `module` imports from other packages, and from our own; of what runs `at_once` or of everything."""
    found = set()
    for node in module.tree.body if at_once else ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", EVERY, ids=lambda module: module.name)
def test_each_room_imports_only_rooms_of_lower_layers(module: Module) -> None:
    room = room_of(module.name)
    for name in set(imports(module)) - {PACKAGE}:
        assert room_of(name) == room or LAYER[room_of(name)] < LAYER[room], f"{module.name} must not import {name}"


def test_every_room_has_a_layer_and_every_layer_its_rooms() -> None:
    assert {room_of(module.name) for module in EVERY} == set(LAYER)


def test_no_import_leads_in_a_circle_back_to_where_it_began() -> None:
    assert cycles() == []


@pytest.mark.parametrize("module", EVERY, ids=lambda module: module.name)
def test_only_the_rooms_that_need_it_import_torch_and_its_family(module: Module) -> None:
    heavy = {name for name in foreign(module) if name.split(".")[0] in TORCH}
    inside = module.name.removeprefix(f"{PACKAGE}.")
    assert not heavy or any(inside.startswith(room) for room in TORCH_ROOMS), f"{module.name} imports {heavy}"


@pytest.mark.parametrize("module", EVERY, ids=lambda module: module.name)
def test_only_the_benchmarks_import_inspect_and_nobody_imports_them_at_once(module: Module) -> None:
    inside = module.name.removeprefix(f"{PACKAGE}.")
    if not any(inside.startswith(room) for room in INSPECT_ROOMS):
        assert not {name for name in foreign(module) if name.split(".")[0] in INSPECT}
        assert not {name for name in foreign(module, at_once=True) if "evaluation.inspect_adapter" in name}
