"""Others' trainers take what we give them: TRL's GRPOTrainer with the reward and the exported problems, as they are."""

from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from tests.integration.runs import simulated_config, write_texts
from trl import GRPOConfig, GRPOTrainer

import pop_selfplay as pop
from pop_selfplay.training.trl_config import quiet_libraries


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    pop.run(simulated_config(write_texts(folder / "texts", 5), documents=4), folder / "run")
    return folder / "run"


def grpo_config(out: Path, **changes: Any) -> GRPOConfig:
    return GRPOConfig(
        **{
            "output_dir": str(out),
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 8,
            "logging_steps": 1,
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "disable_tqdm": True,
            "activation_checkpointing": False,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
        }
        | changes
    )


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_trl_s_own_trainer_takes_the_reward_and_the_exported_problems(
    run: Path, tiny_model: str, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"problems.{suffix}"
    assert pop.export(run, file, "grpo") >= 2
    kind = "json" if suffix == "jsonl" else suffix
    with quiet_libraries(), pop.reward(run, format_reward=0.1) as reward:
        dataset = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
        trainer = GRPOTrainer(model=tiny_model, reward_funcs=reward, args=grpo_config(tmp_path / "out"), train_dataset=dataset)
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2
    for entry in logged:  # a random model writes no answer tag: every answer is invalid, and none is the judge's fault
        assert entry["rewards/rubric/mean"] == 0
        assert (entry["rubric/invalid"], entry["rubric/judge_failures"]) == (1, 0)


def test_a_failing_judge_reaches_trl_as_no_reward(run: Path, tiny_model: str, tmp_path: Path) -> None:
    """The completions are replaced by answers that parse, so that the judge, which always fails, is asked."""
    file = tmp_path / "problems.jsonl"
    pop.export(run, file, "grpo")
    with quiet_libraries(), pop.reward(run, judge={"type": "simulated", "malformed_rate": 1.0}) as reward:

        def answering(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
            return reward(prompts, [f"<answer>{number}</answer>" for number in range(len(completions))], **columns)

        dataset = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
        config = grpo_config(tmp_path / "out", max_steps=1)
        trainer = GRPOTrainer(model=tiny_model, reward_funcs=answering, args=config, train_dataset=dataset)
        trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert entry["rubric/judge_failures"] == 1
    assert entry["reward"] is None and entry["loss"] == 0
