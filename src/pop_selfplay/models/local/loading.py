"""Weights, tokenizer, device and dtype, as the config names them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from pop_selfplay.config import LocalModel, Thinking
from pop_selfplay.errors import ModelRefused
from pop_selfplay.extras import need
from pop_selfplay.models.chat_template import ensure_template, require_switches
from pop_selfplay.models.model_files import check_vocabulary, expanded, find_adapter

_MAX_ROWS_ON_CPU: Final = 96  # more make small models slower: keys and values no longer fit the processor's caches
_MAX_ROWS: Final = 512
_SMALL: Final = 50_000_000  # parameters; below, cores gain more from a batch each than from sharing every small product


class Loaded(NamedTuple):
    """A model ready to generate.

    `context` is the most tokens of prompt and answer together, `vocabulary` the rows of its embedding, `max_rows` the most rows
    of a batch, `batches_at_once` how many batches are best generated side by side, `thinking` what the chat template is told
    for each role, `grammars` what reads grammars in its tokens (decoding.py).
    """

    model: Any
    tokenizer: Any
    device: torch.device
    end_ids: frozenset[int]
    context: int
    vocabulary: int
    max_rows: int
    batches_at_once: int
    thinking: Thinking
    grammars: Any = None


def load(config: LocalModel) -> Loaded:
    """Load whole weights, or a LoRA adapter with those it was trained on. Raises ModelRefused where that cannot be done."""
    device = _device(config.device)
    path = expanded(config.path)
    if config.path.startswith(("/", "./", "../", "~")) and not Path(path).is_dir():
        raise ModelRefused(f"model.path {config.path!r} is not a directory: check the path")
    adapter = find_adapter(path)
    weights, tokens = (adapter.base, adapter.tokenizer) if adapter else (path, path)
    if adapter:
        need("train", f"the LoRA adapter {path}")
    try:
        with _without_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(tokens, revision=config.revision)
            model = AutoModelForCausalLM.from_pretrained(weights, revision=config.revision, dtype=_dtype(config, device))
            if adapter:
                model.load_adapter(adapter.path)
        model = model.to(device).eval()
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelRefused(
            f"cannot load model {config.path!r} on {device}: {error}\n"
            "model.path must be a directory with config.json, tokenizer and safetensors weights, or a hub name"
        ) from error
    ensure_template(tokenizer, config.path)
    check_vocabulary(tokenizer, _rows(model), config.path)
    require_switches(tokenizer, config.thinking, config.path)
    return ready(model, tokenizer, device, config.thinking)


def ready(model: Any, tokenizer: Any, device: torch.device, thinking: Thinking) -> Loaded:
    """Return a model in memory, on `device` and switched to inference, as one ready to generate."""
    on_cpu = device.type == "cpu"
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=device,
        end_ids=_end_ids(model, tokenizer),
        context=getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31,
        vocabulary=_rows(model),
        max_rows=_MAX_ROWS_ON_CPU if on_cpu else _MAX_ROWS,
        batches_at_once=torch.get_num_threads() if on_cpu and model.num_parameters() < _SMALL else 1,
        thinking=thinking,
    )


def _rows(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep the library from drawing over our own display."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelRefused(f"model.device {wanted!r} is not a device: use auto, cpu, cuda, cuda:1 or mps") from error
    usable = {"cpu": True, "cuda": torch.cuda.device_count() > (device.index or 0), "mps": torch.backends.mps.is_available()}
    if not usable.get(device.type, False):
        raise ModelRefused(f"model.device {wanted!r} is not available on this machine: use auto or cpu")
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
