"""Merging LoRA matrices into 16 bits keeps what they add."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pop_selfplay.errors import TrainingError
from pop_selfplay.training.export import ADAPTER, merge_adapter, rounded

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's


def start_of(folder: Path) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder)
    return model


def adapter_of(model: LlamaForCausalLM, folder: Path, size: float) -> None:
    """Save LoRA matrices whose product has entries of about `size`, as few steps of training leave them."""
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=size)
        elif "lora_A" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(folder)


def test_a_merge_into_bf16_keeps_changes_far_below_a_step_of_its_grid(tmp_path: Path) -> None:
    start = start_of(tmp_path / "start")
    before = {name: weight.float().clone() for name, weight in start.state_dict().items()}
    adapter_of(start, tmp_path / "adapter", 1e-5)
    merge_adapter(str(tmp_path / "start"), tmp_path / "adapter", tmp_path / "merged", torch.bfloat16, {}, keep=True)
    merge_adapter(str(tmp_path / "start"), tmp_path / "adapter", tmp_path / "whole", torch.float32, {}, keep=False)
    merged, whole = (AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype="auto") for name in ("merged", "whole"))
    assert merged.dtype == torch.bfloat16 and whole.dtype == torch.float32 and (tmp_path / "merged" / ADAPTER).is_dir()
    kept = lost = total = 0.0
    for name, weight in whole.state_dict().items():
        change = (weight - before[name]).flatten()
        kept += float((merged.state_dict()[name].float() - before[name]).flatten() @ change)
        lost += float((weight.bfloat16().float() - before[name]).flatten() @ change)
        total += float(change @ change)
    assert lost < 0.5 * total  # what rounding to the nearest would leave
    assert kept == pytest.approx(total, rel=0.25)


def test_rounding_by_chance_is_right_on_average_and_the_same_every_time() -> None:
    weight = torch.full((200_000,), 0.02).bfloat16().float() + 1e-5
    found = rounded(weight, torch.bfloat16, torch.Generator().manual_seed(0))
    assert found.float().mean() - weight[0] == pytest.approx(0, abs=1e-6) and len(set(found.tolist())) == 2
    assert torch.equal(found, rounded(weight, torch.bfloat16, torch.Generator().manual_seed(0)))
    assert torch.equal(rounded(weight, torch.float32, torch.Generator()), weight)
    assert torch.equal(rounded(-weight, torch.float16, torch.Generator()), -weight.half())


def test_a_sum_that_is_no_number_is_refused(tmp_path: Path) -> None:
    start = start_of(tmp_path / "start")
    adapter_of(start, tmp_path / "adapter", float("inf"))
    with pytest.raises(TrainingError, match=r"the sum for .* is no number"):
        merge_adapter(str(tmp_path / "start"), tmp_path / "adapter", tmp_path / "merged", None, {}, keep=False)
