"""The whole loop with the shipped pocket model: documents in, a measurably better model out."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import pop_selfplay as pop
from pop_selfplay.config import LocalModel, RunConfig, dump_config
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket.quickstart import quickstart_config
from tests.forked import POP, Forking
from tests.learning import Margins, shifted
from tests.schemas import assert_valid

pytestmark = pytest.mark.timeout(300)
DOCUMENTS = 24


def small_config(**changes: Any) -> RunConfig:
    """The quickstart on few of its documents, with one exam question per plant."""
    config = quickstart_config(seed=shifted(5))
    return config.model_copy(
        update={
            "synthesis": config.synthesis.model_copy(update={"documents": DOCUMENTS}),
            "measure": config.measure.model_copy(update={"questions_per_plant": 1, "samples": 1}),
            **changes,
        }
    )


def check_yield(round_: dict[str, Any], margins: Margins) -> None:
    """Check that a round on DOCUMENTS documents found enough to train on."""
    assert round_["documents"] == DOCUMENTS
    shares = {"problems": 0.9, "rubrics": 0.83, "evaluations": 5, "pairs": 0.5}
    for kind, least in shares.items():
        margins.above(f"{kind} per document", round_[kind] / DOCUMENTS, least)


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pocket") / "run"
    pop.run(small_config(), out)
    return out


@pytest.mark.learning
def test_a_run_leaves_everything_behind(small_run: Path, margins: Margins) -> None:
    for name in ("config.yaml", "versions.json", "run.db", "pairs.parquet", "result.json", "report.html"):
        assert (small_run / name).stat().st_size > 0, name
    AutoModelForCausalLM.from_pretrained(small_run / "models" / "round-1")
    assert AutoTokenizer.from_pretrained(small_run / "models" / "round-1").chat_template
    assert_valid(small_run / "result.json", "result")
    result = json.loads((small_run / "result.json").read_text(encoding="utf-8"))
    round_ = result["rounds"][0]
    check_yield(round_, margins)
    training = round_["training"]
    margins.above("loss at the start minus loss at the end", training["first_loss"] - training["last_loss"], 0.005)
    lost = sum(n for reason, n in round_["dropped"].items() if not reason.startswith("corpus."))
    assert round_["pairs"] + lost == DOCUMENTS
    for group in ("self_play", "held_out"):
        for mode in ("greedy", "sampled"):
            assert result["measure"][group][mode]["after"]["n"] == result["measure"][group][mode]["before"]["n"] > 100


def test_the_same_run_twice_gives_the_same_result_but_for_times(small_run: Path, tmp_path: Path) -> None:
    again = pop.run(small_config(), tmp_path / "again").model_dump(mode="json")
    first = json.loads((small_run / "result.json").read_text(encoding="utf-8"))
    assert without_seconds(again) == without_seconds(first)
    assert (tmp_path / "again" / "pairs.parquet").read_bytes() == (small_run / "pairs.parquet").read_bytes()


def test_the_pocket_model_plays_like_any_local_model(small_run: Path, tmp_path: Path) -> None:
    config = small_config(model=LocalModel(path=str(POCKET_WEIGHTS)))
    local = pop.run(config, tmp_path / "local").model_dump(mode="json")
    first = json.loads((small_run / "result.json").read_text(encoding="utf-8"))
    for result in (local, first):
        result["rounds"][0]["lineage"] = {
            role: [writer["weights"] for writer in writers] for role, writers in result["rounds"][0]["lineage"].items()
        }  # the two have other names, and the same weights
        if result["model"]["round"] == 0:
            result["model"].pop("path")  # the start is named as the config has it
    assert without_seconds(local) == without_seconds(first)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_export_loads_as_a_dataset_of_conversations(small_run: Path, tmp_path: Path, suffix: str) -> None:
    count = pop.export(small_run, tmp_path / f"pairs.{suffix}")
    kind = "json" if suffix == "jsonl" else suffix
    data = load_dataset(kind, data_files=str(tmp_path / f"pairs.{suffix}"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(data) == count > 0
    assert data.column_names == [
        *("prompt", "chosen", "rejected", "chosen_score", "rejected_score"),
        *("reference_answer", "document_id", "problem_id", "round", "role", "license", "url", "source"),
    ]
    assert [message["role"] for message in data[0]["prompt"]] == ["user"]
    assert data[0]["chosen"][0]["content"] != data[0]["rejected"][0]["content"]


def test_a_run_killed_in_training_and_in_measuring_goes_on_to_the_same_result(
    small_run: Path, tmp_path: Path, forked: Forking
) -> None:
    (tmp_path / "c.yaml").write_text(dump_config(small_config()), encoding="utf-8")
    command = ("run", tmp_path / "c.yaml", "--out", tmp_path / "run")
    for moment in ("training on", "measuring the trained"):
        process = forked.start(POP, *command)
        while moment not in process.said():
            assert process.runs(), process.said()
            time.sleep(0.02)
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    done = forked.run(POP, *command)
    assert done.returncode == 0, done.stderr
    assert "synthesis  0.0 s" in done.stdout, "a finished synthesis was played again"
    first = json.loads((small_run / "result.json").read_text(encoding="utf-8"))
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert without_seconds(result["measure"]) == without_seconds(first["measure"])
