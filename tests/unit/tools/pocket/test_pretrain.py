"""The script that makes the weights: runs to the end, gives an ordinary model, and the same one for the same seed."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tools.pocket import pretrain
from tools.pocket.muon import Muon, orthogonalised
from tools.pocket.pretrain import Recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

TINY = Recipe(steps=3, hidden=32, layers=1, heads=2, feed_forward=32, comparator_share=0.4, gate_cases=0)


@pytest.fixture
def made(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings take the tokenizer that is made already; it is always the same: see test_tokenizer.py."""
    monkeypatch.setattr(pretrain, "build_tokenizer", lambda world: tokenizer)


@pytest.mark.usefixtures("made")
def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for out in ("a", "b"):
        pretrain.train(TINY, tmp_path / out)
    first, second = (AutoModelForCausalLM.from_pretrained(tmp_path / out) for out in ("a", "b"))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert "<|assistant|>" in AutoTokenizer.from_pretrained(tmp_path / "a").chat_template


@pytest.mark.usefixtures("made")
def test_the_command_writes_a_model_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["pretrain", "--out", str(tmp_path), "--steps", "1", "--processes", "1", "--gate-cases", "0"]
    )
    pretrain.main()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = Recipe(warm_up_steps=10, constant_share=0.5)
    assert recipe.lr_factor(0.0, 0) == 0.1
    assert recipe.lr_factor(0.4, 100) == 1.0
    assert recipe.lr_factor(0.999, 100) < 0.01


def test_muon_makes_the_update_of_torch_to_bfloat16_s_precision() -> None:
    random = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=random) for shape in ((16, 8), (8, 16), (8, 8), (16, 8))]
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    muon, reference = Muon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)
    for _ in range(3):
        for own, their in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape, generator=random)
            their.grad = own.grad.clone()
        before = [matrix.detach().clone() for matrix in ours]
        muon.step()
        reference.step()  # type: ignore[no-untyped-call]
        for own, their, old in zip(ours, theirs, before, strict=True):
            assert (own - their).norm() < 0.1 * (own - old).norm()


def test_muon_s_updates_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalised(matrices))
    assert singular.min() > 0.5 and singular.max() < 1.4
