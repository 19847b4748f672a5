"""The paper's values for DPO, a user's `training.dpo` on top, and what is refused there."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Final

import torch
from trl import DPOConfig

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import ConfigError
from pop_selfplay.training import distributed, export
from pop_selfplay.training.loading import has_bf16, has_liger, model_kwargs
from pop_selfplay.training.trl_config import Fields, build, hub_of, known_fields, under_its_names

PAPER: Final[Fields] = {
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

OURS: Final[Fields] = {
    # Nothing here changes what is learned: memory, what is written where, and what can be seen.
    "precompute_ref_log_probs": True,  # the reference model then needs no memory while training
    "logging_steps": 1,
    "logging_first_step": True,  # so that there is a first loss, whatever logging_steps a user sets
    "report_to": "none",
    "project": "pop-selfplay",  # where a tracker files the run
    "save_strategy": "steps",
    "save_steps": 0.2,  # below 1 it is a share of all steps
    "eval_strategy": "steps",
    "eval_steps": 0.1,  # below 1 it is a share of all steps
}

OWNED: Final[dict[str, str]] = {
    "output_dir": "the run directory decides where the model goes",
    "seed": "it is the seed of the run: set seed at the top of the config",
    "data_seed": "it is the seed of the run: set seed at the top of the config",
    "gradient_accumulation_steps": "it follows from training.batch_size and per_device_train_batch_size",
    "sync_ref_model": "the reference model is the starting model; one that moves would be in no checkpoint",
    "auto_find_batch_size": "it would change training.batch_size unseen: set per_device_train_batch_size",
    "resume_from_checkpoint": "an interrupted training goes on by itself from its last checkpoint",
    "save_total_limit": "the last checkpoint is kept until the model is finished",
    "save_only_model": "a checkpoint must hold everything needed to go on",
    "load_best_model_at_end": "set training.keep_best",
    "metric_for_best_model": "the best checkpoint is the one with most held-out pairs in order",
    "greater_is_better": "the best checkpoint is the one with most held-out pairs in order",
    "push_to_hub": "set training.push_to_hub",
    "hub_model_id": "set training.push_to_hub",
    "disable_tqdm": "progress is drawn by pop",
    "logging_strategy": "the figures of a training come from its log: set logging_steps",
    "logging_nan_inf_filter": "a loss that is no number must be seen, because it ends the training",
}

MEMORY_ADVICE: Final = (
    "lower training.dpo.per_device_train_batch_size (down to 1) or training.dpo.max_length, or train less: training.lora, and "
    "with it training.quantization 4bit; docs/training.md says what needs how much"
)

_REPORTERS: Final = ("tensorboard", "trackio", "wandb", "mlflow")
"""Packages of the same name that `report_to` may need."""

TOKENS_PER_PASS: Final = 16384
"""Padded tokens of one forward pass, unless per_device_train_batch_size says otherwise. One pair of the paper's size fits."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """`training.dpo` over the defaults: fields of DPOConfig, and the limit TRL gave up. Lengths in tokens, None is no limit."""

    fields: Fields
    max_prompt_length: int | None
    padding_free: bool
    batch_size: int

    @property
    def hub(self) -> Fields:
        """How the starting model is found."""
        return hub_of(self.fields)

    @property
    def use_cpu(self) -> bool:
        """Whether the user wants the processor even where there is a GPU."""
        return bool(self.fields.get("use_cpu", False))

    @property
    def max_length(self) -> int | None:
        length: int | None = self.fields["max_length"]
        return length

    @classmethod
    def of(cls, training: DPOTraining) -> "Settings":
        """Lay the user's fields over the paper's. Raises ConfigError for one that is unknown, or ours to set."""
        given = known_fields(training.dpo, DPOConfig, where="training.dpo", beside=PAPER, owned=OWNED)
        _require_reporters(given.get("report_to") or [])
        fields = {**PAPER, **OURS, **({"learning_rate": export.LEARNING_RATE} if training.lora else {}), **given}
        fields = under_its_names(fields, DPOConfig)
        use_cpu = bool(fields.get("use_cpu", False))
        fields.setdefault("bf16", not fields.get("fp16", False) and has_bf16(use_cpu))
        fields.setdefault("use_liger_kernel", has_liger(use_cpu))
        fields.setdefault("dataloader_pin_memory", torch.cuda.is_available())  # without a GPU it only makes torch warn
        fields["model_init_kwargs"] = model_kwargs(fields.get("model_init_kwargs"), bf16=fields["bf16"], use_cpu=use_cpu)
        attention = fields["model_init_kwargs"].get("attn_implementation") or ""
        padding_free = fields.pop("padding_free", attention.startswith("flash_attention"))
        return cls(fields, fields.pop("max_prompt_length"), padding_free, training.batch_size)

    def dpo_config(self, output: Path, seed: int, longest: int, *, evaluated: bool = True) -> DPOConfig:
        """Return TRL's config. `longest` is the longest sequence in tokens and sets how many pairs fit into one pass.

        `evaluated` says whether pairs are held out. Raises ConfigError when a value is refused by TRL or the batch cannot be
        divided among devices and passes.
        """
        per_device, passes = self._division(longest)
        fields = self.fields if evaluated else self.fields | {"eval_strategy": "no"}
        return build(DPOConfig, fields, where="training.dpo", output=output, seed=seed, per_device=per_device, passes=passes)

    def _division(self, longest: int) -> tuple[int, int]:
        """Return pairs per device and pass, and passes per optimiser step: together and over all devices, `batch_size`."""
        devices = distributed.count()
        share, rest = divmod(self.batch_size, devices)
        if rest:
            raise ConfigError(f"training.batch_size {self.batch_size} cannot be shared by {devices} devices: use a multiple")
        given = self.fields.get("per_device_train_batch_size")
        if given is None:
            given = per_pass(share, 2 * longest)
        elif given < 1 or share % given:
            raise ConfigError(
                f"training.dpo.per_device_train_batch_size {given} must divide the {share} pairs per step and device "
                f"(training.batch_size {self.batch_size})"
            )
        return given, share // given


def per_pass(share: int, tokens: int) -> int:
    """Return how many of `share` items, of at most so many `tokens` each, fit into one pass; a divisor of `share`."""
    return max(n for n in range(1, share + 1) if share % n == 0 and (n == 1 or n * tokens <= TOKENS_PER_PASS))


def _require_reporters(names: str | list[str]) -> None:
    for name in [names] if isinstance(names, str) else names:
        if name in _REPORTERS and importlib.util.find_spec(name) is None:
            raise ConfigError(f"training.dpo.report_to {name} needs a package: `pip install {name}`, or leave it out")
