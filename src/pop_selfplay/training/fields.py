"""A user's fields of one of TRL's configs: known ones only, under today's names, numbers where numbers are meant."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pop_selfplay.errors import ConfigError

RENAMED: Final = {
    # transformers 5.23 warns about the old names, which most people know and TRL still sets.
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


def known_fields(
    given: Mapping[str, Any], config: Any, *, where: str, beside: Mapping[str, Any], owned: Mapping[str, str]
) -> dict[str, Any]:
    """Return `given` with its fields named and typed as the TRL class `config` has them.

    `where` is the setting that holds them, `beside` names further fields that we understand, `owned` those that the run
    decides, with the reason. Raises ConfigError for an owned field, and for an unknown one with the nearest name.
    """
    types = field_types(config)
    allowed = sorted((types.keys() | beside.keys() | RENAMED.keys()) - owned.keys())
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name in owned:
            raise ConfigError(f"{where}.{name} (here {value!r}) cannot be set: {owned[name]}")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"see the documentation of trl.{config.__name__}"
            raise ConfigError(f"{where}.{name} (here {value!r}) is no field of trl.{config.__name__}: {advice}")
        fields[RENAMED.get(name, name)] = as_number(value, types.get(name))
    return fields


def under_its_names(fields: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return `fields` under the old names where this transformers has only those."""
    if "activation_checkpointing" in field_types(config):
        return dict(fields)
    old = {new: name for name, new in RENAMED.items()}
    return {old.get(name, name): value for name, value in fields.items()}


def hub_of(fields: Mapping[str, Any]) -> dict[str, Any]:
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


def field_types(config: Any) -> dict[str, Any]:
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
