"""Online RL with the shipped pocket model, by the command: its own judge, its own rubrics, and the truth beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.cli import run as pop_command
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.pocket.quickstart import quickstart_config

pytestmark = pytest.mark.timeout(300)


def small_config() -> RunConfig:
    data: dict[str, Any] = quickstart_config(seed=5, training="grpo").model_dump(mode="json")
    data["synthesis"] |= {"documents": 24, "candidates": 4, "episodes_in_flight": 24}
    data["training"] |= {"batch_size": 32, "second_judge": {"type": "pocket"}}
    data["training"]["grpo"] |= {"max_steps": 3, "save_steps": 2}
    return RunConfig.model_validate(data | {"measure": {"type": "none"}})


def test_pop_run_trains_online_and_leaves_everything_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(dump_config(small_config()), encoding="utf-8")
    run = tmp_path / "run"
    assert pop_command(["run", str(tmp_path / "c.yaml"), "--out", str(run)]) == 0
    assert "online training" in capsys.readouterr().out
    training = json.loads((run / "result.json").read_text(encoding="utf-8"))["rounds"][0]["training"]
    assert (training["steps"], training["samples"]) == (3, 96)
    model = run / "models" / "round-1"
    steps = [json.loads(line) for line in (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for step in [step for step in steps if "loss" in step]:
        assert step["truth/agreement"] > 0.8, "the pocket judge knows what is right"
        assert step["second_judge/agreement"] == pytest.approx(1), "the second judge is the same model"
        assert step["kl"] >= 0 and step["group/reward_std"] > 0
    samples = [json.loads(line) for line in (model / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(samples) == 96 and {"truth", "second_judge", "score", "reward", "answer"} <= set(samples[0])
