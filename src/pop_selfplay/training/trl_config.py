"""TRL's configs: a user's fields over our values, known ones only, under today's names; and TRL's own noise.

`Settings` is for trainers on pairs; online RL builds on the same functions in grpo_trainer.py. The libraries are kept off the
terminal while we train: the run's observer draws the progress, and known noise is silenced. A warning is added to `KNOWN_NOISE`
only when it is about a library's own inside and no user can act on it; the reason stands beside it.
"""

import contextlib
import dataclasses
import difflib
import importlib.util
import logging
import os
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import datasets
import torch
from transformers.utils import logging as transformers_logging

from pop_selfplay.config import Fields, OfflineTraining
from pop_selfplay.errors import ConfigError
from pop_selfplay.training import distributed
from pop_selfplay.training.loading import has_bf16, has_liger, model_kwargs

RENAMED: Final = {
    # transformers 5.23 warns about the old names, which most people know and TRL still sets.
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


def known_fields(
    given: Mapping[str, Any], config: Any, *, where: str, beside: Mapping[str, Any], owned: Mapping[str, str]
) -> Fields:
    """Return `given` with its fields named and typed as the TRL class `config` has them.

    `where` is the setting that holds them, `beside` names further fields that we understand, `owned` those that the run
    decides, with the reason. Raises ConfigError for an owned field, and for an unknown one with the nearest name.
    """
    types = field_types(config)
    allowed = sorted((types.keys() | beside.keys() | RENAMED.keys()) - owned.keys())
    fields: Fields = {}
    for name, value in given.items():
        if name in owned:
            raise ConfigError(f"{where}.{name} (here {value!r}) cannot be set: {owned[name]}")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"see the documentation of trl.{config.__name__}"
            raise ConfigError(f"{where}.{name} (here {value!r}) is not a field of trl.{config.__name__}: {advice}")
        fields[RENAMED.get(name, name)] = as_number(value, types.get(name))
    return fields


def under_its_names(fields: Mapping[str, Any], config: Any) -> Fields:
    """Return `fields` under the old names where this transformers has only those."""
    if "activation_checkpointing" in field_types(config):
        return dict(fields)
    old = {new: name for name, new in RENAMED.items()}
    return {old.get(name, name): value for name, value in fields.items()}


def hub_of(fields: Mapping[str, Any]) -> Fields:
    """Return how the starting model is found, as `from_pretrained` takes it: its revision, and whether its own code may run."""
    revision = (fields.get("model_init_kwargs") or {}).get("revision")
    return {"trust_remote_code": fields.get("trust_remote_code", False)} | ({"revision": revision} if revision else {})


def as_number(value: Any, type_: Any) -> Any:
    """Return 1e-6 for "1e-6": YAML reads it as text unless it is written 1.0e-6."""
    if isinstance(value, str) and float in (type_, *typing.get_args(type_)):
        try:
            return float(value)
        except ValueError:
            return value  # TRL says what is wrong with it
    return value


def field_types(config: Any) -> Fields:
    """Return the type of every field that the class `config` can be made with."""
    return {field.name: field.type for field in dataclasses.fields(config) if field.init}


def build(config: Any, fields: Mapping[str, Any], *, where: str, output: Path, seed: int, per_device: int, passes: int) -> Any:
    """Return TRL's `config` made of `fields` and of what the run decides in any case.

    `per_device` is the batch of one device and pass, `passes` how many of them make a step. Raises ConfigError when TRL
    refuses a value of the setting `where`.
    """
    decided = {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": passes,
        "output_dir": str(output),
        "seed": seed,
        "data_seed": seed,
        "disable_tqdm": True,
        "logging_first_step": True,  # so that there is a first loss, whatever logging_steps a user sets
        "logging_nan_inf_filter": False,  # on, it writes an average of earlier losses where there is no number
    }
    try:
        return config(**{"per_device_eval_batch_size": per_device, **fields, **decided})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"TRL refuses a value in {where}: {error}") from error


DECIDED_BY_RUN: Final[dict[str, str]] = {
    "output_dir": "the run directory decides where the model goes",
    "seed": "it is the seed of the run: set seed at the top of the config",
    "data_seed": "it is the seed of the run: set seed at the top of the config",
    "gradient_accumulation_steps": "it follows from training.batch_size and per_device_train_batch_size",
    "auto_find_batch_size": "it would silently change training.batch_size: set per_device_train_batch_size",
    "resume_from_checkpoint": "an interrupted training resumes by itself from its last checkpoint",
    "save_total_limit": "the last checkpoint is kept until the model is finished",
    "save_only_model": "a checkpoint must hold everything needed to resume",
    "disable_tqdm": "progress is drawn by pop",
    "logging_strategy": "the figures of a training come from its log: set logging_steps",
    "logging_first_step": "the first loss is a figure of every training",
    "logging_nan_inf_filter": "a loss that is not a number must be seen, because it ends the training",
}
"""Fields of every TRL config that are refused, and why."""

DECIDED_ON_PAIRS: Final = {
    **DECIDED_BY_RUN,
    "load_best_model_at_end": "set training.keep_best",
    "push_to_hub": "set training.push_to_hub",
    "hub_model_id": "set training.push_to_hub",
}
"""The same for trainers on pairs."""

EVALUATED: Final[Fields] = {
    # Nothing here changes what is learned: what is written where, and what can be seen.
    "logging_steps": 1,
    "report_to": "none",
    "project": "pop-selfplay",  # where a tracker files the run
    "save_strategy": "steps",
    "save_steps": 0.2,  # below 1 it is a share of all steps
    "eval_strategy": "steps",
    "eval_steps": 0.1,  # below 1 it is a share of all steps
}
"""Our values for every trainer that looks at held-out pairs."""

TOKENS_PER_PASS: Final = 16384
"""Padded tokens of one forward pass, unless per_device_train_batch_size says otherwise. One pair of the paper's size fits."""

_REPORTERS: Final = ("tensorboard", "trackio", "wandb", "mlflow")
"""Packages of the same name that `report_to` may need."""


class Defaults(NamedTuple):
    """What a trainer on pairs starts from: TRL's class of settings and our values for them.

    `owned` are the fields that are refused, with the reason. `sequences` is how many sequences a pair is trained on as.
    """

    config: Any
    values: Mapping[str, Any]
    lora_learning_rate: float
    owned: Mapping[str, str]
    sequences: int


@dataclasses.dataclass(frozen=True)
class Settings:
    """A user's fields over the defaults of a trainer on pairs, and the limit TRL gave up. Lengths in tokens, None: no limit."""

    where: str
    defaults: Defaults
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
    def of(cls, training: OfflineTraining, defaults: Defaults) -> "Settings":
        """Lay the user's fields over the defaults. Raises ConfigError for one that is unknown, or not to be set."""
        where = f"training.{training.type}"
        config, values = defaults.config, dict(defaults.values)
        given = known_fields(training.fields, config, where=where, beside=values, owned=defaults.owned)
        require_reporters(given.get("report_to") or [], where)
        if training.lora:
            values["learning_rate"] = defaults.lora_learning_rate
        fields = under_its_names(values | given, config)
        require_numbers(fields, ("max_length", "max_prompt_length", "per_device_train_batch_size"), where, or_none=True)
        use_cpu = bool(fields.get("use_cpu", False))
        fields.setdefault("bf16", not fields.get("fp16", False) and has_bf16(use_cpu))
        fields.setdefault("use_liger_kernel", has_liger(use_cpu))
        fields.setdefault("dataloader_pin_memory", torch.cuda.is_available())  # without a GPU it only makes torch warn
        fields["model_init_kwargs"] = model_kwargs(fields.get("model_init_kwargs"), bf16=fields["bf16"], use_cpu=use_cpu)
        attention = fields["model_init_kwargs"].get("attn_implementation") or ""
        padding_free = fields.pop("padding_free", attention.startswith("flash_attention"))
        return cls(where, defaults, fields, fields.pop("max_prompt_length"), padding_free, training.batch_size)

    def trl_config(self, output: Path, seed: int, longest: int, *, evaluated: bool = True) -> Any:
        """Return TRL's config. `longest` is the longest sequence in tokens and sets how many pairs fit into one pass.

        `evaluated` says whether pairs are held out. Raises ConfigError when a value is refused by TRL or the batch cannot be
        divided among devices and passes.
        """
        per_device, passes = self._division(longest)
        fields = self.fields if evaluated else self.fields | {"eval_strategy": "no"}
        return build(
            self.defaults.config, fields, where=self.where, output=output, seed=seed, per_device=per_device, passes=passes
        )

    def _division(self, longest: int) -> tuple[int, int]:
        """Return pairs per device and pass, and passes per optimiser step: together and over all devices, `batch_size`."""
        devices = distributed.count()
        share, rest = divmod(self.batch_size, devices)
        if rest:
            raise ConfigError(f"training.batch_size {self.batch_size} does not divide by {devices} devices: use a multiple")
        given = self.fields.get("per_device_train_batch_size")
        if given is None:
            given = per_pass(share, self.defaults.sequences * longest)
        elif given < 1 or share % given:
            raise ConfigError(
                f"{self.where}.per_device_train_batch_size {given} must divide the {share} pairs per step and device "
                f"(training.batch_size {self.batch_size})"
            )
        return given, share // given


def per_pass(share: int, tokens: int) -> int:
    """Return how many of `share` items, of at most so many `tokens` each, fit into one pass; a divisor of `share`."""
    return max(n for n in range(1, share + 1) if share % n == 0 and (n == 1 or n * tokens <= TOKENS_PER_PASS))


def require_numbers(fields: Mapping[str, Any], names: Sequence[str], where: str, *, or_none: bool = False) -> None:
    """Raise ConfigError unless the fields of these names, those that are there, are numbers (`or_none`: or null)."""
    for name in names:
        value = fields.get(name, 1)
        if (isinstance(value, bool) or not isinstance(value, int | float)) and not (or_none and value is None):
            raise ConfigError(f"{where}.{name} {value!r} must be a number{' or null' if or_none else ''}")


def require_reporters(names: str | list[str], where: str) -> None:
    for name in [names] if isinstance(names, str) else names:
        if name in _REPORTERS and importlib.util.find_spec(name) is None:
            raise ConfigError(f"{where}.report_to {name} needs a package: `pip install {name}`, or leave it out")


KNOWN_NOISE: Final = (
    # TRL 1.16 uses transformers 5.23 by names it has just deprecated, at every pass over the reference answers.
    r"`is_gradient_checkpointing` is deprecated",
    r"`gradient_checkpointing_(en|dis)able` is deprecated",
    # We ask for Liger's layers where they are installed.
    r"`use_liger_kernel=True` is deprecated",
    # The seam by which answers are sampled with our own decoding loop; TRL says so at every training.
    r"You are using 'rollout_func', which is an experimental feature",
)

KNOWN_LOG_LINES: Final = (
    # Said of every resumed training: tied weights are in no checkpoint, and shares of all steps are stored as numbers of steps.
    "missing keys in the checkpoint model loaded: ['lm_head.weight']",
    "do not match the ones in the `trainer_state.json`",
    # Said, with the whole row, of an answer that the judge failed on; we count them, by reason (callbacks.py).
    "All reward functions returned None",
)
_CHATTY: Final = ("transformers.trainer", "transformers.trainer_utils", "trl.trainer.grpo_trainer")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Switch off the progress bars of transformers, datasets and TRL and the known noise, and put all back as it was."""
    datasets_bars, transformers_bars = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    tqdm_disable = os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in _CHATTY]
    for logger in loggers:
        logger.addFilter(_says_something)
    os.environ["TQDM_DISABLE"] = "1"  # the only switch TRL has for the bar of the reference log-probabilities
    try:
        with warnings.catch_warnings():
            for message in KNOWN_NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_says_something)
        if not datasets_bars:
            datasets.enable_progress_bars()
        if transformers_bars:
            transformers_logging.enable_progress_bar()
        if tqdm_disable is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm_disable


def _says_something(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(line in message for line in KNOWN_LOG_LINES)
