"""Sessions are opened, never forged."""

import ast
from pathlib import Path

import pop_selfplay

SRC = Path(pop_selfplay.__file__).parent
ROOT = Path(__file__).parents[3]


def test_nobody_outside_of_runs_makes_a_session_by_hand() -> None:
    for folder in (SRC, ROOT / "benchmarks", ROOT / "examples", ROOT / "tools"):
        for path in folder.rglob("*.py"):
            if path.is_relative_to(SRC / "runs"):
                continue
            calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
            made = [call.lineno for call in calls if ast.unparse(call.func).split(".")[-1] == "Session"]
            assert not made, f"{path}:{made[0]} makes a Session: open one, or take session.casting.copy(…)"
