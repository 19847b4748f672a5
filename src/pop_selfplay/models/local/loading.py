"""Weights, tokenizer, device and dtype, as the config names them."""

from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.config import LocalModel
from pop_selfplay.errors import ModelRefused

# More rows at once than this make small models slower on a CPU: keys and values no longer fit its caches.
_MAX_ROWS_ON_CPU: Final = 96
_MAX_ROWS: Final = 1024
_NO_LIMIT: Final = 2**31


class Loaded(NamedTuple):
    """A model ready to generate. `context` is the most tokens of prompt and answer together, `max_rows` of one batch."""

    model: Any
    tokenizer: Any
    device: torch.device
    end_ids: frozenset[int]
    context: int
    max_rows: int


def load(config: LocalModel) -> Loaded:
    """Load what `config` names, ready for inference. Raises ModelRefused with the reason when that cannot be done."""
    device = _device(config.device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, revision=config.revision)
        model = AutoModelForCausalLM.from_pretrained(config.path, revision=config.revision, dtype=_dtype(config, device))
        model = model.to(device).eval()
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelRefused(
            f"cannot load model {config.path!r} on {device}: {error}\n"
            "model.path must be a directory with config.json, tokenizer and safetensors weights, or a hub name"
        ) from error
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=device,
        end_ids=_end_ids(model, tokenizer),
        context=getattr(model.config, "max_position_embeddings", None) or _NO_LIMIT,
        max_rows=_MAX_ROWS_ON_CPU if device.type == "cpu" else _MAX_ROWS,
    )


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelRefused(f"model.device {wanted!r} is not a device: use auto, cpu, cuda, cuda:1 or mps") from error
    usable = {"cpu": True, "cuda": torch.cuda.device_count() > (device.index or 0), "mps": torch.backends.mps.is_available()}
    if not usable.get(device.type, False):
        raise ModelRefused(f"model.device {wanted!r} is not there on this machine: use auto or cpu")
    return device


def _dtype(config: LocalModel, device: torch.device) -> torch.dtype:
    if config.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: chat models often have several, and name them in their generation config."""
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)
