"""Write what was trained as a model directory: weights in the precision asked for, LoRA merged or not, tokenizer, model card.

Every process of a training calls `save_weights`, because the shards of all are gathered; only the first one writes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from pop_selfplay.config import LoRA
from pop_selfplay.errors import TrainingError
from pop_selfplay.training.card import Facts, write_card
from pop_selfplay.training.lora import merge_adapter
from pop_selfplay.training.starting import load_config
from pop_selfplay.training.unfinished import MERGED


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
    else:  # copies of one weight under two names would be stored twice
        state = {name: weight for name, weight in state.items() if name not in model.all_tied_weights_keys}
    broken = [name for name, weight in state.items() if weight.is_floating_point() and not torch.isfinite(weight).all()]
    if broken:
        raise TrainingError(f"{len(broken)} weights are no numbers after training ({broken[0]}, …): {advice}")
    if not adapter and dtype is not None:
        state = {name: weight.to("cpu", dtype) if weight.is_floating_point() else weight for name, weight in state.items()}
    model.save_pretrained(directory, state_dict=state)
    if not adapter and dtype is not None:
        _set_dtype(directory / "config.json", dtype)


def finish(weights: Path, lora: LoRA | None, tokenizer: Any, hub: Mapping[str, Any], facts: Facts) -> Path:
    """Make a whole model directory of the trained `weights` and return it: their own, or one beside it for merged ones."""
    finished = weights
    if lora is not None and lora.merge:
        finished = weights.with_name(MERGED)
        merge_adapter(facts.start, weights, finished, load_config(facts.start, hub).dtype, hub, keep=lora.keep_adapter)
    tokenizer.save_pretrained(finished)
    write_card(finished, facts, hub)
    return finished


def _set_dtype(config: Path, dtype: torch.dtype) -> None:
    """Let config.json name the precision that was written; transformers writes the one that was trained in."""
    data = json.loads(config.read_text(encoding="utf-8"))
    data["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
