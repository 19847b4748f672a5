"""LoRA: small matrices trained beside the weights, and how they become one with them at the end (PEFT)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

from pop_selfplay.config import LoRA
from pop_selfplay.errors import TrainingError

LEARNING_RATE: Final = 1e-5
"""In place of that of all weights: the matrices want about ten times the rate."""

ADAPTER: Final = "adapter"
"""Folder of a merged model that holds its LoRA matrices by themselves, where they were to be kept."""


def peft_config(lora: LoRA | None) -> LoraConfig | None:
    """Return `training.lora` as PEFT wants it, None where all weights are trained."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_rslora=lora.rslora,
        task_type="CAUSAL_LM",
    )


def merge_adapter(start: str, adapter: Path, directory: Path, dtype: Any, hub: Mapping[str, Any], *, keep: bool) -> None:
    """Add the LoRA matrices in `adapter` to the weights of the starting model and write the sum to `directory`.

    The starting model is loaded whole, on the CPU, as `dtype` (None: as stored), also where training held it in 4 bits. With
    `keep`, the matrices are copied beside the model, into its folder `ADAPTER`. Raises TrainingError when the sum is no number.
    """
    base = AutoModelForCausalLM.from_pretrained(start, dtype=dtype or "auto", **hub)
    try:
        merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise TrainingError(f"the LoRA matrices cannot be merged into {start!r}: {error}") from error
    shutil.rmtree(directory, ignore_errors=True)
    merged.save_pretrained(directory)
    if keep:
        shutil.copytree(adapter, directory / ADAPTER)
