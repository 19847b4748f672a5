"""The exports in the loaders of the libraries that they are for. Tested where these are installed."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runs import small_run

import pop_selfplay as pop
from pop_selfplay.models import POCKET_WEIGHTS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("loaders"))


def exported(run: Path, out: Path, name: str) -> list[dict[str, Any]]:
    pop.export(run, out.with_suffix(".jsonl"), name)
    pop.export(run, out, name)
    return [json.loads(line) for line in out.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_verl_loads_every_problem_with_its_rubric(run: Path, tmp_path: Path) -> None:
    dataset = pytest.importorskip("verl.utils.dataset.rl_dataset")
    settings = pytest.importorskip("omegaconf").OmegaConf
    from transformers import AutoTokenizer

    rows = exported(run, tmp_path / "problems.parquet", "verl")
    options = {"max_prompt_length": 4096, "cache_dir": str(tmp_path), "filter_overlong_prompts_workers": 1}
    tokenizer = AutoTokenizer.from_pretrained(POCKET_WEIGHTS)
    loaded = dataset.RLHFDataset(str(tmp_path / "problems.parquet"), tokenizer, settings.create(options))
    assert [item["reward_model"] for item in loaded] == [row["reward_model"] for row in rows]
    assert [list(item["raw_prompt"]) for item in loaded] == [row["prompt"] for row in rows]


@pytest.mark.filterwarnings("ignore")
def test_verifiers_makes_a_task_of_every_problem(run: Path, tmp_path: Path) -> None:
    vf = pytest.importorskip("verifiers.v1")
    rows = exported(run, tmp_path / "problems.parquet", "verifiers")

    class Problem(vf.TaskData):  # type: ignore[misc, name-defined]
        answer: str
        info: str

    tasks = [
        vf.Task[Problem](Problem(id=str(n), **{k: row[k] for k in ("prompt", "answer", "info")})) for n, row in enumerate(rows)
    ]
    assert [task.data.answer for task in tasks] == [row["answer"] for row in rows]
    assert all(json.loads(task.data.info)["rubric"] for task in tasks)
