"""Other ways to train than all weights in fp32: LoRA, merged or not, bf16, without padding, 4 bits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.integration.training.trainings import dpo_trainer, train_dpo
from tests.learning import Margins, shifted
from transformers import AutoModelForCausalLM

from pop_selfplay.config import DPOTraining, LoRA
from pop_selfplay.errors import ConfigError, TrainingError
from pop_selfplay.records import PreferencePair
from pop_selfplay.training.dpo import DPO
from pop_selfplay.training.optimizer import CompensatedAdamW
from pop_selfplay.training.trl_config import Settings, quiet_libraries

FAST = {"learning_rate": 3e-2, "beta": 0.1, "gradient_checkpointing": False, "per_device_train_batch_size": 8}
MakePairs = Callable[[int], list[PreferencePair]]
Weights = Callable[[Path], dict[str, Any]]


@pytest.mark.learning
def test_a_merged_model_is_plain_and_is_the_start_plus_its_adapter(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Weights, margins: Margins
) -> None:
    config = DPOTraining(dpo=FAST, batch_size=8, lora=LoRA(r=4, keep_adapter=True))
    result = train_dpo(make_pairs(50), tiny_model, tmp_path / "out", config, seed=shifted(1))
    assert result.held_out is not None
    margins.above("share of held-out pairs in order", result.held_out.reward_accuracy, 0.9)
    margins.above("reward margin of held-out pairs", result.held_out.reward_margin, 0.02)
    before, after = weights(Path(tiny_model)), weights(tmp_path / "out")
    assert before.keys() == after.keys(), "no trace of LoRA"
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

    adapter = tmp_path / "out" / "adapter"
    with quiet_libraries():
        with_adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        assert torch.allclose(with_adapter(ids).logits, plain(ids).logits, atol=1e-5)


def test_matrices_can_stay_by_themselves_and_transformers_finds_their_start(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs
) -> None:
    config = DPOTraining(dpo=FAST, batch_size=8, lora=LoRA(r=4, target_modules=["q_proj", "v_proj"], merge=False))
    train_dpo(make_pairs(16), tiny_model, tmp_path / "out", config, seed=1)
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in stored} == {"q_proj", "v_proj"}
    assert not (tmp_path / "out" / "model.safetensors").exists()
    adapted, start = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "out", tiny_model))
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        assert not torch.allclose(adapted(ids).logits, start(ids).logits, atol=1e-3)


def test_lora_trains_at_ten_times_the_paper_s_rate_unless_told() -> None:
    assert Settings.of(DPOTraining(lora=LoRA()), DPO.defaults).fields["learning_rate"] == 1e-5
    slower = DPOTraining(lora=LoRA(), dpo={"learning_rate": 3e-6})
    assert Settings.of(slower, DPO.defaults).fields["learning_rate"] == 3e-6


def test_the_dropout_asked_for_is_lora_s_own_and_no_other(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST, batch_size=8, held_out_share=0, lora=LoRA(r=2, dropout=0.3))
    model = dpo_trainer(make_pairs(8), tiny_model, tmp_path, config)[0].model
    rates = {module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.3}


def test_layers_that_are_not_there_are_told(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST, lora=LoRA(target_modules=["nowhere"]))
    with pytest.raises(TrainingError, match="nowhere"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", config, seed=1)


@pytest.mark.learning
def test_weights_in_bf16_are_trained_by_the_optimiser_that_keeps_their_remainders(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Weights, margins: Margins
) -> None:
    fields = FAST | {"learning_rate": 1e-4, "model_init_kwargs": {"dtype": "bfloat16"}, "num_train_epochs": 3}
    config = DPOTraining(dpo=fields, batch_size=8, held_out_share=0)
    trainer, _ = dpo_trainer(make_pairs(16), tiny_model, tmp_path / "made", config)
    assert trainer.create_optimizer().__class__ is CompensatedAdamW
    in_fp32 = DPOTraining(dpo=FAST | {"learning_rate": 1e-4, "num_train_epochs": 3}, batch_size=8, held_out_share=0)
    results = [
        train_dpo(make_pairs(16), tiny_model, tmp_path / name, given, seed=shifted(1))
        for name, given in [("bf16", config), ("fp32", in_fp32)]
    ]
    margins.below("difference of the losses", abs(results[0].last_loss - results[1].last_loss), 0.01)
    assert json.loads((tmp_path / "bf16" / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    start, low, high = weights(Path(tiny_model)), weights(tmp_path / "bf16"), weights(tmp_path / "fp32")
    assert {weight.dtype for weight in low.values()} == {torch.float32}, "saved as the start was"
    shares = []
    for name, weight in start.items():
        allowed = 0.5 * (high[name] - weight).norm() + 0.01 * weight.norm()
        shares.append(((low[name] - high[name]).norm() / allowed).item())
    margins.below("distance of the weights, as a share of what is allowed", max(shares), 1)


def test_four_bits_without_a_gpu_are_refused_with_what_to_do(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = DPOTraining(lora=LoRA(), quantization="4bit")
    with pytest.raises(ConfigError, match=r"quantization 4bit needs a CUDA GPU.*null"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", config, seed=1)


def test_four_bits_without_matrices_are_no_config() -> None:
    with pytest.raises(ValueError, match=r"also set training\.lora"):
        DPOTraining(quantization="4bit")
