"""Who may import whom: the rooms of the house and the walls between them."""

import ast
from pathlib import Path

import pytest

import pop_selfplay

SRC = Path(pop_selfplay.__file__).parent
LAYERS = (
    {"errors", "records", "seeds"},
    {"tasks"},
    {"stats"},
    {"results"},
    {"text"},
    {"method"},
    {"judging"},
    {"config"},
    {"domains"},
    {"journal"},
    {"models"},
    {"pocket"},
    {"corpus"},
    {"stages"},
    {"episode", "observer"},
    {"runs"},
    {"pairing", "plan"},
    {"rewards"},
    {"exports"},
    {"evaluation", "training"},
    {"report"},
    {"selfplay"},
    {"api"},
    {"cli"},
    {"__main__"},
)
"""From the ground up. A room imports only what lies in a layer below its own, in functions too."""
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "datasets"}
TORCH_ROOMS = {"training", "models.local", "corpus.hugging_face"}
INSPECT = {"inspect_ai", "inspect_evals"}
INSPECT_ROOMS = {"evaluation.inspect_adapter", "evaluation.benchmarks."}


def imports(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return [path for path in sorted(SRC.rglob("*.py")) if path.parent != SRC or path.name != "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_each_room_imports_only_rooms_of_lower_layers(path: Path) -> None:
    room = path.relative_to(SRC).parts[0].removesuffix(".py")
    for name in imports(path, top_level_only=False):
        other = name.removeprefix("pop_selfplay.").split(".")[0]
        if name.startswith("pop_selfplay.") and other in LAYER and other != room:
            assert LAYER[other] < LAYER[room], f"{room} must not import {name}"


def test_every_room_has_a_layer() -> None:
    rooms = {path.relative_to(SRC).parts[0].removesuffix(".py") for path in modules()}
    assert rooms <= set(LAYER), f"give a layer to {rooms - set(LAYER)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_only_the_rooms_that_need_it_import_torch_and_its_family(path: Path) -> None:
    module = ".".join(path.relative_to(SRC).with_suffix("").parts)
    heavy = {name for name in imports(path, top_level_only=False) if name.split(".")[0] in TORCH}
    assert not heavy or any(module.startswith(room) for room in TORCH_ROOMS), f"{module} imports {heavy}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_only_the_benchmarks_import_inspect_and_nobody_imports_them_at_once(path: Path) -> None:
    module = ".".join(path.relative_to(SRC).with_suffix("").parts)
    everything, at_once = imports(path, top_level_only=False), imports(path, top_level_only=True)
    if not any(module.startswith(room) for room in INSPECT_ROOMS):
        assert not {name for name in everything if name.split(".")[0] in INSPECT}
        assert not {name for name in at_once if "evaluation.inspect_adapter" in name}
