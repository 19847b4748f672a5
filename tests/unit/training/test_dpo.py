"""The paper's values, a user's on top of them, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import ConfigError
from pop_selfplay.training.dpo import DPO, OWNED
from pop_selfplay.training.trl_config import Settings


def config_of(tmp_path: Path, dpo: dict[str, Any] | None = None, longest: int = 60, batch_size: int = 16) -> Any:
    return Settings.of(DPOTraining(dpo=dpo or {}, batch_size=batch_size), DPO.defaults).trl_config(tmp_path, 7, longest)


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert (config.beta, config.learning_rate, config.lr_scheduler_type, config.warmup_steps) == (0.01, 1e-6, "cosine", 0.1)
    assert (config.num_train_epochs, config.max_length, config.loss_type) == (1, 6144, ["sigmoid"])
    assert config.gradient_checkpointing and config.precompute_ref_log_probs
    assert (config.seed, config.data_seed, config.output_dir) == (7, 7, str(tmp_path))
    assert Settings.of(DPOTraining(), DPO.defaults).max_prompt_length == 1024


def test_nothing_is_reported_or_drawn_by_default(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert (config.report_to, config.disable_tqdm, config.save_total_limit) == ([], True, None)


def test_a_users_fields_win(tmp_path: Path) -> None:
    dpo = {"beta": 0.2, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.1], "max_prompt_length": None}
    config = config_of(tmp_path, dpo)
    assert (config.beta, config.loss_type, config.loss_weights) == (0.2, ["sigmoid", "sft"], [1.0, 0.1])
    assert Settings.of(DPOTraining(dpo=dpo), DPO.defaults).max_prompt_length is None


def test_a_learning_rate_that_yaml_reads_as_text_is_a_number(tmp_path: Path) -> None:
    assert config_of(tmp_path, {"learning_rate": "5e-7"}).learning_rate == 5e-7


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_gradient_checkpointing_is_known_by_both_its_names(tmp_path: Path, name: str) -> None:
    assert not config_of(tmp_path, {name: False}).gradient_checkpointing


@pytest.mark.parametrize(
    ("name", "near"),
    [("learnig_rate", "learning_rate"), ("max_promt_length", "max_prompt_length"), ("warmup_ratio", "warmup_steps")],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.dpo\.{name} \(here 0\.5\).*did you mean {near}\?"):
        Settings.of(DPOTraining(dpo={name: 0.5}), DPO.defaults)


def test_an_unknown_field_like_no_other_points_to_the_documentation() -> None:
    with pytest.raises(ConfigError, match=r"trl\.DPOConfig"):
        Settings.of(DPOTraining(dpo={"zzzz": 1}), DPO.defaults)


@pytest.mark.parametrize("name", sorted(OWNED))
def test_fields_of_ours_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*cannot be set: "):
        Settings.of(DPOTraining(dpo={name: 1}), DPO.defaults)


def test_a_value_that_trl_refuses_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loss_weights"):
        config_of(tmp_path, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]})


@pytest.mark.parametrize(
    ("longest", "per_device", "passes"), [(60, 16, 1), (512, 16, 1), (513, 8, 2), (1500, 4, 4), (6144, 1, 16), (99999, 1, 16)]
)
def test_as_many_pairs_share_a_pass_as_its_tokens_allow(tmp_path: Path, longest: int, per_device: int, passes: int) -> None:
    config = config_of(tmp_path, longest=longest)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (per_device, passes)


def test_a_given_pass_keeps_the_batch_size(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"per_device_train_batch_size": 2})
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (2, 8)


def test_a_pass_that_does_not_divide_the_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="per_device_train_batch_size 3 must divide"):
        config_of(tmp_path, {"per_device_train_batch_size": 3})


def test_the_batch_is_shared_by_all_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of(DPOTraining(batch_size=16), DPO.defaults)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batch_size 16 does not divide by 3 devices"):
        settings.trl_config(tmp_path, 7, 60)


def test_a_tracker_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    assert Settings.of(DPOTraining(dpo={"report_to": ["tensorboard"]}), DPO.defaults)
    with pytest.raises(ConfigError, match=r"report_to wandb needs a package: `pip install wandb`"):
        Settings.of(DPOTraining(dpo={"report_to": ["tensorboard", "wandb"]}), DPO.defaults)
