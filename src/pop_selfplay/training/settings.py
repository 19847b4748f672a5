"""The paper's values for DPO, a user's `training.dpo` on top, and what is refused there."""

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from trl import DPOConfig

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import ConfigError

PAPER: Final[dict[str, Any]] = {
    # method, "Pairs to a better model". Batch 16, 4 % held out and seed 42 are defaults in `config/`.
    "beta": 0.01,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,  # below 1 it is a share of all steps
    "num_train_epochs": 1,
    "optim": "adamw_torch_fused",
    "max_length": 6144,  # tokens of prompt and answer; longer pairs are dropped
    "max_prompt_length": 1024,  # no longer a field of TRL, so ours; longer prompts are dropped with their pair
    "activation_checkpointing": True,
    "loss_type": ["sigmoid"],
}

OURS: Final[dict[str, Any]] = {
    # Nothing here changes what is learned: memory, what is written where, and what can be seen.
    "precompute_ref_log_probs": True,  # the reference model then needs no memory while training
    "logging_steps": 1,
    "logging_first_step": True,  # so that there is a first loss, whatever logging_steps a user sets
    "report_to": "none",
    "save_strategy": "no",
}

OWNED: Final[dict[str, str]] = {
    "output_dir": "the run directory decides where the model goes",
    "seed": "it is the seed of the run: set seed at the top of the config",
    "data_seed": "it is the seed of the run: set seed at the top of the config",
    "gradient_accumulation_steps": "it follows from training.batch_size and per_device_train_batch_size",
    "auto_find_batch_size": "it would change training.batch_size unseen: set per_device_train_batch_size",
    "resume_from_checkpoint": "an interrupted training starts again by itself",
    "disable_tqdm": "progress is drawn by pop",
    "logging_strategy": "the figures of a training come from its log: set logging_steps",
    "logging_nan_inf_filter": "a loss that is no number must be seen, because it ends the training",
}

RENAMED: Final = {
    # transformers 5.23 warns about the old names, which most people know and TRL still sets.
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}

TOKENS_PER_PASS: Final = 16384
"""Padded tokens of one forward pass, unless per_device_train_batch_size says otherwise. One pair of the paper's size fits."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """`training.dpo` over the defaults: fields of DPOConfig, and the limit TRL gave up. Lengths in tokens, None is no limit."""

    fields: dict[str, Any]
    max_prompt_length: int | None
    batch_size: int

    @property
    def max_length(self) -> int | None:
        length: int | None = self.fields["max_length"]
        return length

    @classmethod
    def of(cls, training: DPOTraining) -> "Settings":
        """Lay the user's fields over the paper's. Raises ConfigError for one that is unknown, or ours to set."""
        fields = {**PAPER, **OURS, **_known(training.dpo)}
        if "activation_checkpointing" not in _field_types():  # a transformers that has only the old names
            old = {new: name for name, new in RENAMED.items()}
            fields = {old.get(name, name): value for name, value in fields.items()}
        fields.setdefault("bf16", not fields.get("fp16", False) and _has_bf16(fields))
        fields.setdefault("dataloader_pin_memory", torch.cuda.is_available())  # without a GPU it only makes torch warn
        return cls(fields, fields.pop("max_prompt_length"), training.batch_size)

    def dpo_config(self, output: Path, seed: int, longest: int) -> DPOConfig:
        """Return TRL's config. `longest` is the longest sequence in tokens and sets how many pairs fit into one pass.

        Raises ConfigError when a value is refused by TRL or the batch cannot be divided among devices and passes.
        """
        per_device, passes = self._division(longest)
        fields = {
            "per_device_eval_batch_size": per_device,
            **self.fields,
            "per_device_train_batch_size": per_device,
            "gradient_accumulation_steps": passes,
            "output_dir": str(output),
            "seed": seed,
            "data_seed": seed,
            "disable_tqdm": True,
            "logging_nan_inf_filter": False,  # on, it writes an average of earlier losses where there is no number
        }
        try:
            return DPOConfig(**fields)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"TRL refuses a value in training.dpo: {error}") from error

    def _division(self, longest: int) -> tuple[int, int]:
        """Return pairs per device and pass, and passes per optimiser step: together and over all devices, `batch_size`."""
        devices = int(os.environ.get("WORLD_SIZE", "1"))
        share, rest = divmod(self.batch_size, devices)
        if rest:
            raise ConfigError(f"training.batch_size {self.batch_size} cannot be shared by {devices} devices: use a multiple")
        given = self.fields.get("per_device_train_batch_size")
        if given is None:
            given = max(n for n in range(1, share + 1) if share % n == 0 and (n == 1 or 2 * n * longest <= TOKENS_PER_PASS))
        elif given < 1 or share % given:
            raise ConfigError(
                f"training.dpo.per_device_train_batch_size {given} must divide the {share} pairs per step and device "
                f"(training.batch_size {self.batch_size})"
            )
        return given, share // given


def _known(dpo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's fields under today's names and as numbers where numbers are meant."""
    types = _field_types()
    allowed = sorted((types.keys() | PAPER.keys() | RENAMED.keys()) - OWNED.keys())
    fields: dict[str, Any] = {}
    for name, value in dpo.items():
        if name in OWNED:
            raise ConfigError(f"training.dpo.{name} (here {value!r}) cannot be set: {OWNED[name]}")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else "see the documentation of trl.DPOConfig"
            raise ConfigError(f"training.dpo.{name} (here {value!r}) is no field of trl.DPOConfig: {advice}")
        fields[RENAMED.get(name, name)] = _as_number(value, types.get(name))
    return fields


def _as_number(value: Any, type_: Any) -> Any:
    """Return 1e-6 for "1e-6": YAML reads it as text unless it is written 1.0e-6."""
    if isinstance(value, str) and float in (type_, *typing.get_args(type_)):
        try:
            return float(value)
        except ValueError:
            return value  # TRL says what is wrong with it
    return value


def _field_types() -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(DPOConfig) if field.init}


def _has_bf16(fields: Mapping[str, Any]) -> bool:
    return not fields.get("use_cpu", False) and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
