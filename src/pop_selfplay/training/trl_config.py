"""A user's fields of one of TRL's configs: known ones only, under today's names, numbers where numbers are meant.

Keep the libraries off the terminal while we train: the run's observer draws the progress, and known noise is silenced.

A warning is added to `KNOWN_NOISE` only when it is about a library's own inside and no user can act on it; the reason stands
beside it.
"""

import contextlib
import dataclasses
import difflib
import logging
import os
import typing
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import datasets
from transformers.utils import logging as transformers_logging

from pop_selfplay.errors import ConfigError

Fields: TypeAlias = dict[str, Any]
"""Arguments of a class of TRL or transformers, by their names there: what they may hold is for that class to say."""

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
            raise ConfigError(f"{where}.{name} (here {value!r}) is no field of trl.{config.__name__}: {advice}")
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
        "logging_nan_inf_filter": False,  # on, it writes an average of earlier losses where there is no number
    }
    try:
        return config(**{"per_device_eval_batch_size": per_device, **fields, **decided})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"TRL refuses a value in {where}: {error}") from error


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
    # Said, with the whole row, of an answer that the judge failed on; we count them, by reason (grpo_watch.py).
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
