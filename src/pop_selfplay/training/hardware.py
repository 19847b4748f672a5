"""What the hardware at hand makes possible: precision, attention, kernels, quantisation. Chosen here, once, for every training.

| | GPU with bf16 | CPU and older GPUs |
| --- | --- | --- |
| weights | bf16, the optimiser keeps what they cannot hold (adamw.py) | fp32 |
| attention | FlashAttention 2 when installed, else torch's own | torch's own |
| layers | Liger's kernels when installed | torch's |

Online RL takes the first line only: its sampling loop was never run with the other two.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

from pop_selfplay.errors import ConfigError


def has_bf16(use_cpu: bool) -> bool:
    """Whether training is to use bf16: only on a GPU that computes in it."""
    return not use_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def has_flash_attention(use_cpu: bool) -> bool:
    """Whether FlashAttention 2 can be used: it is installed, and there is a GPU for it."""
    return has_bf16(use_cpu) and is_flash_attn_2_available()


def has_liger(use_cpu: bool) -> bool:
    """Whether Liger's kernels can be used: they are installed, and there is a GPU for them."""
    return not use_cpu and torch.cuda.is_available() and is_liger_kernel_available()


def model_kwargs(given: Mapping[str, Any] | None, *, bf16: bool, use_cpu: bool) -> dict[str, Any]:
    """Return keyword arguments for loading the model to train: what the user gave, over what suits the hardware."""
    kwargs: dict[str, Any] = {"dtype": "bfloat16" if bf16 else "float32"}
    if has_flash_attention(use_cpu) and bf16:
        kwargs["attn_implementation"] = "flash_attention_2"
    return kwargs | dict(given or {})


def four_bits(use_cpu: bool) -> BitsAndBytesConfig:
    """Return how QLoRA holds frozen weights: 4-bit NormalFloat with quantised constants, computing in bf16.

    Raises ConfigError where that cannot work: without a CUDA GPU, or without bitsandbytes.
    """
    if use_cpu or not torch.cuda.is_available():
        raise ConfigError(
            "training.quantization 4bit needs a CUDA GPU, and there is none: set it to null, which trains LoRA on whole weights"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("training.quantization 4bit needs bitsandbytes: `pip install bitsandbytes`, or set it to null")
    compute = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
