"""Our values for online RL, the solver's sampling, a user's fields on top, and what is refused; all of it documented."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pop_selfplay.config import GRPOTraining, LoRA, Sampling
from pop_selfplay.errors import ConfigError
from pop_selfplay.training.grpo_trainer import ONLINE, OURS, OWNED, TRLS_GENERATION, OnlineSettings

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
SOLVER = Sampling(temperature=0.9, top_p=0.95, max_tokens=100)


def settings(grpo: dict[str, Any] | None = None, batch_size: int = 64) -> OnlineSettings:
    return OnlineSettings.of_run(GRPOTraining(grpo=grpo or {}, batch_size=batch_size), SOLVER)


def test_answers_are_sampled_as_the_solver_does_in_synthesis(tmp_path: Path) -> None:
    config = settings().grpo_config(tmp_path, 7, 50)
    assert (config.temperature, config.top_p, config.max_completion_length) == (0.9, 0.95, 100)
    assert settings({"temperature": 1.2}).fields["temperature"] == 1.2


def test_lora_trains_at_ten_times_the_rate_of_all_weights_unless_told() -> None:
    assert OnlineSettings.of_run(GRPOTraining(lora=LoRA()), SOLVER).fields["learning_rate"] == 1e-5
    assert (
        OnlineSettings.of_run(GRPOTraining(lora=LoRA(), grpo={"learning_rate": 2e-6}), SOLVER).fields["learning_rate"] == 2e-6
    )


def test_a_greedy_solver_has_nothing_to_learn_from() -> None:
    with pytest.raises(ConfigError, match=r"temperature 0\.0 must be above 0"):
        OnlineSettings.of_run(GRPOTraining(), Sampling(temperature=0))


def test_defaults_are_those_of_the_table(tmp_path: Path) -> None:
    config = settings().grpo_config(tmp_path, 7, 50)
    assert (config.num_generations, config.beta, config.learning_rate, config.loss_type) == (8, 0.04, 1e-6, "dapo")
    assert (config.seed, config.data_seed, config.report_to, config.disable_tqdm) == (7, 7, [], True)


def test_a_step_uses_the_whole_batch_and_samples_it_at_once(tmp_path: Path) -> None:
    config = settings(batch_size=64).grpo_config(tmp_path, 7, 900)
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 64
    assert config.per_device_train_batch_size * 1000 <= 16384
    assert config.generation_batch_size == 64


@pytest.mark.parametrize(
    ("grpo", "batch_size", "said"),
    [
        ({}, 60, "batch_size 60 must be a multiple of training.grpo.num_generations 8"),
        ({"num_generations": 1}, 64, "at least 2"),
        ({"per_device_train_batch_size": 48}, 64, "48 must divide the 64 answers"),
    ],
)
def test_a_batch_that_breaks_up_groups_is_refused(tmp_path: Path, grpo: dict[str, Any], batch_size: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(grpo, batch_size).grpo_config(tmp_path, 7, 50)


@pytest.mark.parametrize("name", ["temperature", "num_generations", "max_completion_length"])
@pytest.mark.parametrize("value", [None, "hot", True])
def test_a_value_that_is_no_number_is_refused_before_anything_is_computed_with_it(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"training\.grpo\.{name} .* must be a number"):
        settings({name: value})


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"training\.grpo\.report_to wandb needs a package"):
        settings({"report_to": ["wandb"]})


def test_fewer_problems_than_one_step_needs_are_refused() -> None:
    settings().require_a_step(8)
    with pytest.raises(ConfigError, match="7 problems are fewer than the 8 of one step"):
        settings().require_a_step(7)


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"training\.grpo\.num_generation \(here 4\).*did you mean num_generations\?"):
        settings({"num_generation": 4})


@pytest.mark.parametrize("name", sorted(OWNED))
def test_what_the_run_decides_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(OWNED[name])):
        settings({name: 1})


def test_a_value_that_trl_refuses_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TRL refuses a value in training\.grpo"):
        settings({"lr_scheduler_type": "zigzag"}).grpo_config(tmp_path, 7, 50)


@pytest.mark.parametrize("name", TRLS_GENERATION)
def test_what_only_trl_s_generation_knows_lets_trl_sample(name: str) -> None:
    assert settings().samples_itself
    assert not settings({name: 1}).samples_itself


def test_what_training_grpo_starts_from_and_what_it_refuses_is_documented() -> None:
    section = DOCS.read_text(encoding="utf-8").split("#### What `training.grpo` starts from")[1].split("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE))
    assert {name: value if value == "none" else yaml.safe_load(value) for name, value in rows.items()} == ONLINE | OURS
    assert [name for name in (*OWNED, *TRLS_GENERATION) if f"`{name}`" not in section] == []
