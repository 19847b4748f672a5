"""The optimiser: AdamW where weights are fp32, and nearly so where they are bf16."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pop_selfplay.training import optimizer as adamw
from pop_selfplay.training.optimizer import CompensatedAdamW

SETTINGS: dict[str, Any] = {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}


def gradients(steps: int, size: int) -> torch.Tensor:
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(0))


def train(kind: type[torch.optim.Optimizer], dtype: torch.dtype, steps: int = 200, **settings: Any) -> torch.Tensor:
    """Return the weights, in fp32, after so many steps along the same gradients. All begin as numbers that bf16 holds."""
    start = torch.linspace(-0.05, 0.05, 64).bfloat16()
    weight = torch.nn.Parameter(start.to(dtype))
    optimiser = kind([weight], **settings)
    for gradient in gradients(steps, 64):
        weight.grad = (gradient + 0.5).to(dtype)
        optimiser.step()
    return weight.detach().float()


def test_in_fp32_it_is_adamw() -> None:
    ours, torchs = (train(kind, torch.float32, **SETTINGS) for kind in (CompensatedAdamW, torch.optim.AdamW))
    assert torch.allclose(ours, torchs, atol=1e-6)


@pytest.mark.parametrize(
    ("optim", "ours"),
    [("adamw_torch", True), ("adamw_torch_fused", True), ("adamw_torch_8bit", False), ("adamw_torch_4bit", False)],
)
def test_only_adamw_itself_is_replaced(optim: str, ours: bool) -> None:
    args = SimpleNamespace(
        optim=SimpleNamespace(value=optim), learning_rate=1e-3, adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-8
    )
    model = torch.nn.Linear(2, 2).bfloat16()
    trainer = SimpleNamespace(args=args, is_deepspeed_enabled=False, model=model, optimizer_cls_and_kwargs=None)
    adamw.keep_remainders(trainer)
    assert (trainer.optimizer_cls_and_kwargs is not None) == ours


def test_steps_too_small_for_bf16_add_up() -> None:
    start = torch.linspace(-0.05, 0.05, 64).bfloat16().float()
    exact = train(torch.optim.AdamW, torch.float32, steps=1000, lr=1e-6, weight_decay=0.0)
    ours = train(CompensatedAdamW, torch.bfloat16, steps=1000, lr=1e-6)
    plain = train(torch.optim.AdamW, torch.bfloat16, steps=1000, lr=1e-6, weight_decay=0.0)
    large = start.abs() > 0.01
    assert (exact - start).abs().min() > 1e-5, "every weight has moved"
    assert torch.equal(plain[large], start[large]), "plain bf16 has not moved one of them"
    step_of_bf16 = exact.abs() * 2**-8
    assert ((ours - exact).abs() <= step_of_bf16 + 1e-8).all(), "ours is the nearest that bf16 can hold"


def test_what_is_rounded_away_is_never_more_than_half_a_step() -> None:
    weight = torch.nn.Parameter(torch.full((8,), 1.0).bfloat16())
    optimiser = CompensatedAdamW([weight], lr=1e-4)
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        assert (optimiser.state[weight]["remainder"].abs() <= 2**-8).all()
    assert (weight < 1).all()


def test_a_restored_state_goes_on_to_the_same_bits() -> None:
    def run(restart: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 16).bfloat16())
        optimiser = CompensatedAdamW([weight], lr=1e-4, weight_decay=0.01)
        for number, gradient in enumerate(gradients(10, 16)):
            if restart and number == 5:
                state = optimiser.state_dict()
                optimiser = CompensatedAdamW([weight], lr=1e-4, weight_decay=0.01)
                optimiser.load_state_dict(state)
            weight.grad = gradient.bfloat16()
            optimiser.step()
        return weight.detach()

    assert torch.equal(run(False), run(True))


def test_a_weight_without_a_gradient_stays() -> None:
    weight, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    other.grad = torch.ones(2)
    CompensatedAdamW([weight, other], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(2)) and not torch.equal(other, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_closure_is_called_and_its_loss_returned(dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=dtype))
    optimiser = CompensatedAdamW([weight], lr=0.1)

    def closure() -> float:
        loss = (weight * 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimiser.step(closure) == 2.0
    assert weight.item() < 1


def test_a_large_weight_is_updated_in_slices_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> torch.Tensor:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 60).bfloat16().view(12, 5))
        optimiser = CompensatedAdamW([weight], lr=1e-3, weight_decay=0.01)
        for gradient in gradients(5, 60):
            weight.grad = gradient.bfloat16().view(12, 5)
            optimiser.step()
        return weight.detach()

    whole = run()
    monkeypatch.setattr(adamw, "AT_ONCE", 17)
    assert torch.equal(run(), whole)
