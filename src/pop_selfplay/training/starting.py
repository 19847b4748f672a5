"""The starting model, for every kind of training: its tokenizer, the precision it is stored in, its share of the processor.

`hub` stands for how the model is found: `revision` and `trust_remote_code`, as transformers' `from_pretrained` takes them. What
is loaded how onto which hardware is in hardware.py.
"""

import contextlib
import gc
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.errors import ModelRefused, TrainingError
from pop_selfplay.models.chat_template import ensure_template

SMALL_MODEL: Final = 10_000_000
"""Parameters below which a model is trained on one CPU thread."""


def load_tokenizer(start: str, hub: Mapping[str, Any]) -> Any:
    """Return the tokenizer of the starting model, with the default chat template where it has none of its own.

    Raises ModelRefused when there is no tokenizer, or no token that could end an answer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(start, **hub)
    except (OSError, ValueError) as error:
        raise ModelRefused(f"cannot load a tokenizer from {start!r}: {error}") from error
    ensure_template(tokenizer, start)
    return tokenizer


def load_config(start: str, hub: Mapping[str, Any]) -> Any:
    """Return the architecture of the starting model. Raises ModelRefused when it cannot be read."""
    try:
        return AutoConfig.from_pretrained(start, **hub)
    except (OSError, ValueError) as error:
        raise ModelRefused(f"cannot load the model to train from {start!r}: {error}") from error


def count_parameters(config: Any, hub: Mapping[str, Any]) -> int:
    """Return how many weights a model of this architecture has, without making it. Raises ModelRefused for an unknown one."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=hub.get("trust_remote_code", False))
    except ValueError as error:
        raise ModelRefused(f"cannot build the model to train: {error}") from error
    return sum(weight.numel() for weight in model.parameters())


@contextlib.contextmanager
def threads_for(start: str, hub: Mapping[str, Any]) -> Iterator[None]:
    """Train a small model on one CPU thread, and put the number of threads back afterwards.

    Its matrices are too small to gain much from more (a third less time on two idle cores), while threads that wait for each
    other on busy cores cost up to fifteen times as much; and one thread gives the same bits on any number of cores.
    """
    small = count_parameters(load_config(start, hub), hub) < SMALL_MODEL
    threads = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def memory_given_back(advice: str) -> Iterator[None]:
    """The next phase loads a model of its own; trainers sit in reference cycles and keep theirs until collected.

    Raises TrainingError, with the `advice`, when there is too little memory on the GPU.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"the GPU has too little memory for this training: {advice}. The GPU said: {error}") from error
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
