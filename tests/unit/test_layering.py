"""Who may import whom: the rooms of the house and the walls between them."""

import ast
from pathlib import Path

import pytest

import pop_selfplay

SRC = Path(pop_selfplay.__file__).parent
BASE = {"records", "errors"}
BELOW = BASE | {"config", "core", "corpus", "domains", "journal", "models", "stages", "episode", "problem_pairs", "session"}
BELOW |= {"lineage", "observer", "pocket"}
MAY_IMPORT = {
    "records": set(),
    "errors": set(),
    "core": BASE,
    "config": BASE | {"core"},
    "corpus": BASE | {"config", "core", "pocket.world"},
    "domains": BASE | {"config", "core"},
    "journal": BASE | {"config", "core"},
    "models": BASE | {"config"},
    "stages": BASE | {"config", "core", "domains", "journal", "models.base"},
    "episode": BASE | {"config", "core", "domains", "journal", "models.base", "stages"},
    "observer": {"journal", "training.TrainingStep", "training.OnlineStep"},
    "session": BELOW - {"session", "lineage", "problem_pairs", "pocket"},
    "lineage": BELOW - {"lineage", "pocket"},
    "problem_pairs": BELOW - {"session", "lineage", "problem_pairs", "pocket"},
    "pocket": BELOW | {"evaluation"},
    "rewards": BELOW,
    "exports": BELOW | {"rewards", "selfplay"},
    "training": BELOW | {"rewards", "evaluation.truth"},
    "evaluation": BELOW,
    "report": BELOW | {"evaluation", "training"},
    "selfplay": BELOW | {"evaluation", "training", "report"},
    "api": BELOW | {"exports", "evaluation", "training", "report", "selfplay"},
    "__main__": {"cli"},
    "cli": {"errors"},  # at the top of its modules; everything else after the arguments are parsed
}
TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "datasets"}
TORCH_ROOMS = {"training", "models.local", "pocket", "corpus.hugging_face"}
INSPECT = {"inspect_ai", "inspect_evals"}
INSPECT_ROOMS = {"evaluation.inspecting", "evaluation.benchmarks."}


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
def test_each_room_imports_only_the_rooms_it_may(path: Path) -> None:
    room = path.relative_to(SRC).parts[0].removesuffix(".py")
    for name in imports(path, top_level_only=room == "cli"):
        if name.startswith("pop_selfplay.") and not name.startswith(f"pop_selfplay.{room}"):
            inside = name.removeprefix("pop_selfplay.")
            allowed = any(f"{inside}.".startswith(f"{other}.") for other in MAY_IMPORT[room])
            assert allowed, f"{room} must not import {name}"


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
        assert not {name for name in at_once if "evaluation.inspecting" in name}
