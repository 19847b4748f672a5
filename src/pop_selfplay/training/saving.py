"""Write what was trained as a model directory: weights in the precision asked for, LoRA matrices merged or not, tokenizer.

Every process of a training calls `save_weights`, because the shards of all are gathered; only the first one writes.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pop_selfplay.errors import TrainingError

ADAPTER: Final = "adapter"
"""Folder of a merged model that holds its LoRA matrices by themselves, where they were to be kept."""


def save_weights(trainer: Any, directory: Path, dtype: Any, advice: str) -> None:
    """Write the trained weights to `directory`: all of them as `dtype`, or the LoRA matrices alone in their own precision.

    Raises TrainingError, with the `advice`, when a weight is no number.
    """
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model_wrapped)
    if not accelerator.is_main_process:
        return
    model = accelerator.unwrap_model(trainer.model)
    adapter = isinstance(model, PeftModel)
    if adapter:
        state = {name: weight for name, weight in state.items() if "lora_" in name}
    broken = [name for name, weight in state.items() if weight.is_floating_point() and not torch.isfinite(weight).all()]
    if broken:
        raise TrainingError(f"{len(broken)} weights are no numbers after training ({broken[0]}, …): {advice}")
    if not adapter and dtype is not None:
        state = {name: weight.to("cpu", dtype) if weight.is_floating_point() else weight for name, weight in state.items()}
    model.save_pretrained(directory, state_dict=state)
    if not adapter and dtype is not None:
        _set_dtype(directory / "config.json", dtype)


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


def _set_dtype(config: Path, dtype: torch.dtype) -> None:
    """Let config.json name the precision that was written; transformers writes the one that was trained in."""
    data = json.loads(config.read_text(encoding="utf-8"))
    data["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
