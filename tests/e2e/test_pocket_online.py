"""Online RL with the shipped pocket model, by the command: its own judge, its own rubrics, and the truth beside them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.cli import run as pop_command
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.local import LocalChatModel
from pop_selfplay.pocket.quickstart import quickstart_config
from tests.learning import Margins, shifted

pytestmark = pytest.mark.timeout(300)


def small_config() -> RunConfig:
    data: dict[str, Any] = quickstart_config(seed=shifted(5), training="grpo").model_dump(mode="json")
    data["synthesis"] |= {"documents": 12, "candidates": 4, "episodes_in_flight": 12}
    data["training"] |= {"batch_size": 24, "second_judge": {"type": "pocket"}}
    data["training"]["grpo"] |= {"max_steps": 2}
    return RunConfig.model_validate(data | {"measure": {"type": "none"}})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("online")
    (folder / "c.yaml").write_text(dump_config(small_config()), encoding="utf-8")
    assert pop_command(["run", str(folder / "c.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.learning
def test_pop_run_trains_online_and_leaves_everything_behind(run: Path, margins: Margins) -> None:
    training = json.loads((run / "result.json").read_text(encoding="utf-8"))["rounds"][0]["training"]
    assert (training["steps"], training["samples"]) == (2, 48)
    model = run / "models" / "round-1"
    steps = [json.loads(line) for line in (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for step in [step for step in steps if "loss" in step]:
        margins.above("the judge's agreement with the truth", step["truth/agreement"], 0.8)
        margins.above("the judge's agreement with itself", step["second_judge/agreement"], 0.95)
        margins.above("spread of a group's rewards", step["group/reward_std"], 0.05)
        assert step["kl"] >= 0
    samples = [json.loads(line) for line in (model / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(samples) == 48 and {"truth", "second_judge", "score", "reward", "answer"} <= set(samples[0])


def test_a_training_that_is_made_again_asks_the_judge_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill before the first checkpoint: the same answers are sampled, and every verdict is in the journal."""

    async def asked(self: LocalChatModel, request: ChatRequest) -> Completion:
        raise AssertionError("the judge was asked again")

    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "models")
    monkeypatch.setattr(LocalChatModel, "complete", asked)
    assert pop_command(["train", str(tmp_path / "run")]) == 0
    for name in ("samples.jsonl", "model.safetensors"):
        again, first = (folder / "models" / "round-1" / name for folder in (tmp_path / "run", run))
        assert again.read_bytes() == first.read_bytes(), name
