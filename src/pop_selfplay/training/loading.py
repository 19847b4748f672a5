"""The starting model, for every kind of training: its tokenizer, its precision, and what the hardware at hand makes possible.

`hub` stands for how the model is found: `revision` and `trust_remote_code`, as transformers' `from_pretrained` takes them.
Precision, attention, kernels and quantisation are chosen here, once:

| | GPU with bf16 | CPU and older GPUs |
| --- | --- | --- |
| weights | bf16, the optimiser keeps what they cannot hold (optimizer.py) | fp32 |
| attention | FlashAttention 2 when installed, else torch's own | torch's own |
| layers | Liger's kernels when installed | torch's |

Online RL takes the first line only: its sampling loop was never run with the other two. What other hardware needs is a function
beside `has_bf16`.
"""

import contextlib
import gc
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

from pop_selfplay.config import Fields
from pop_selfplay.errors import ModelRefused, TrainingError
from pop_selfplay.models.chat_template import ensure_template
from pop_selfplay.models.model_files import check_vocabulary, refuse_adapter

SMALL_MODEL: Final = 10_000_000
"""Parameters below which a model is trained on one CPU thread."""


def load_tokenizer(start: str, hub: Mapping[str, Any]) -> Any:
    """Return the tokenizer of the starting model, with the default chat template where it has none of its own.

    Raises ModelRefused when there is no tokenizer, no token that could end an answer, or the tokenizer is not the model's; and
    for a LoRA adapter.
    """
    refuse_adapter(start)
    try:
        tokenizer = AutoTokenizer.from_pretrained(start, **hub)
    except (OSError, ValueError) as error:
        raise ModelRefused(f"cannot load a tokenizer from {start!r}: {error}") from error
    ensure_template(tokenizer, start)
    check_vocabulary(tokenizer, load_model_config(start, hub).get_text_config().vocab_size, start)
    return tokenizer


def load_model_config(start: str, hub: Mapping[str, Any]) -> Any:
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
    small = count_parameters(load_model_config(start, hub), hub) < SMALL_MODEL
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


def has_bf16(use_cpu: bool) -> bool:
    """Whether training is to use bf16: only on a GPU that computes in it."""
    return not use_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def has_flash_attention(use_cpu: bool) -> bool:
    """Whether FlashAttention 2 can be used: it is installed, and there is a GPU for it."""
    return has_bf16(use_cpu) and is_flash_attn_2_available()


def has_liger(use_cpu: bool) -> bool:
    """Whether Liger's kernels can be used: they are installed, and there is a GPU for them."""
    return not use_cpu and torch.cuda.is_available() and is_liger_kernel_available()


def model_kwargs(given: Mapping[str, Any] | None, *, bf16: bool, use_cpu: bool) -> Fields:
    """Return keyword arguments for loading the model to train: what the user gave, over what suits the hardware."""
    kwargs: Fields = {"dtype": "bfloat16" if bf16 else "float32"}
    if has_flash_attention(use_cpu) and bf16:
        kwargs["attn_implementation"] = "flash_attention_2"
    return kwargs | dict(given or {})
