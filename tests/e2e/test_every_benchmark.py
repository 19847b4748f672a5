"""Every benchmark, on a few items in its own format: a simulated model behind a server against the pocket model in process."""

import json
from pathlib import Path
from typing import Any

import pytest
from inspect_ai._util import entrypoints

from pop_selfplay.config import SimulatedModel
from pop_selfplay.evaluation.benchmarks import BENCHMARKS
from pop_selfplay.evaluation.specs import SuiteEntry, find_model
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from tests.unit.evaluation import test_tasks as items
from tests.unit.evaluation.makers import playing, run, write_rows
from tests.unit.evaluation.test_evaluate import SUMS

pytestmark = pytest.mark.slow
CHECKLIST = [{"name": f"c{n}", "criteria_description": "d"} for n in range(5)]
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [dict(row) for row in SUMS[:2]],
    "math_500": [{"problem": "One?", "answer": "1", "unique_id": "a"}, {"problem": "Two?", "answer": "2", "unique_id": "b"}],
    "aime2024": [{"ID": "1", "Problem": "Six sevens?", "Answer": 42, "Solution": ""}],
    "aime2025": [{"id": "1", "problem": "Two?", "answer": "002"}],
    "mmlu_pro": items.MMLU,
    "medqa": items.MEDQA,
    "gpqa_diamond": items.GPQA[:2],
    "ifeval": [{"key": 1, "prompt": "List.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}],
    "healthbench": items.HEALTH,
    "writingbench": [{"index": 1, "domain1": "x", "domain2": "y", "query": "Write.", "checklist": CHECKLIST}],
    "arena_hard_v0.1": [{"question_id": f"q{n}", "category": "x", "turns": [{"content": f"Question {n}?"}]} for n in range(2)],
    "arena_hard_v2": items.ARENA[:2],
}


def judge(prompt: str) -> str:
    """Answer in whatever form the benchmark's judge is asked for."""
    if "# Rubric item" in prompt:
        return items.physician(prompt)
    if "<answer_a>" in prompt:
        return items.referee("A>B", "B>A")(prompt)
    return items.editor(prompt) if "<response" in prompt else '{"score": 5, "reason": "so"}'


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_served_model_and_a_local_one_sit_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrypoints, "_inspect_ai_eps_loaded_all", True)
    data = tmp_path / "data"
    if name in ROWS:
        write_rows(data, name, ROWS[name])
    else:
        data.mkdir()
        (data / f"{name}.json").write_text(json.dumps(items.STORIES), encoding="utf-8")
    choice = SuiteEntry(name=name, max_tokens=32, epochs=1)
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as url:
        served, pocket = find_model(f"{url}#simulated"), find_model("pocket")
        result = run(tmp_path / "out", data, choice, model=served, against=pocket, judge=playing("j", judge))
    (row,) = result["benchmarks"]
    figure = next(iter(row["figures"].values()))
    for who in ("model", "base"):
        assert figure[who]["n"] > 0 and row["lost"][who] == {}, (who, row)
