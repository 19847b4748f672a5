"""AdamW that trains weights in bf16 without losing what bf16 cannot hold.

bf16 keeps 8 bits of a number. A step of the paper's size, about 1e-6 on a weight of about 0.02, is fifty times smaller than
what the last of these bits can show, so that plain bf16 training rounds nearly every step away. The usual remedy, a second copy
of all weights in fp32, costs 4 bytes per weight. Here the part that was rounded away is kept instead, in bf16, and added to the
next step (Kahan's summation): 2 bytes per weight for all but the last bits of fp32. Both moments are fp32.

| bytes per weight | weights | gradient | remainder or copy | moments | all |
| --- | --- | --- | --- | --- | --- |
| this, weights in bf16 | 2 | 2 | 2 | 8 | 14 |
| weights in fp32, passes in bf16 | 4 | 4 | – | 8 | 16 |

Weights in fp32 get the ordinary AdamW, so that it also fits weights which a sharding library has made fp32 meanwhile.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, overload

import torch

AT_ONCE: Final = 2**25
"""Weights that are updated together; their fp32 intermediates take about 16 bytes each."""


class CompensatedAdamW(torch.optim.Optimizer):
    """AdamW (decoupled weight decay, bias corrected) for parameters in any precision. Steps are computed in fp32.

    `params`, `lr`, `betas`, `eps` and `weight_decay` are those of torch.optim.AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step. `closure`, if given, computes the loss again and is called first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_one(weight, weight.grad, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state in the precision it was saved in; torch would round it to that of the weights."""
        super().load_state_dict(state_dict)
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for name, weight in zip(names, weights, strict=True):
            saved = state_dict["state"].get(name, {})
            self.state[weight].update({key: value.to(weight.device) for key, value in saved.items() if key != "step"})

    def _step_one(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(weight, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.float32)
            if weight.dtype != torch.float32:
                state["remainder"] = torch.zeros_like(weight)
        state["step"] += 1
        tensors = [weight, gradient, state["exp_avg"], state["exp_avg_sq"]]
        for part in _parts([*tensors, state["remainder"]] if "remainder" in state else tensors):
            _update(int(state["step"]), group, *part)


def keep_remainders(trainer: Any) -> None:
    """Let a trainer that is ready to train use CompensatedAdamW where it was to train weights in bf16 by AdamW."""
    args = trainer.args
    plain = str(args.optim.value) in ("adamw_torch", "adamw_torch_fused") and not trainer.is_deepspeed_enabled
    if plain and any(weight.requires_grad and weight.dtype == torch.bfloat16 for weight in trainer.model.parameters()):
        settings = {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
        trainer.optimizer_cls_and_kwargs = (CompensatedAdamW, settings)


def _update(
    step: int,
    group: dict[str, Any],
    weight: torch.Tensor,
    gradient: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    remainder: torch.Tensor | None = None,
) -> None:
    beta1, beta2 = group["betas"]
    gradient = gradient.float()
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    spread = square.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    update = mean.div(spread).mul_(-group["lr"] / (1 - beta1**step))
    update.add_(weight, alpha=-group["lr"] * group["weight_decay"])
    if remainder is None:
        weight.add_(update)
        return
    wanted = update.add_(weight).add_(remainder)  # fp32: the weight with all of its bits
    weight.copy_(wanted)
    remainder.copy_(wanted.sub_(weight))


def _parts(tensors: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield a large weight in slices of rows, with all that belongs to them, so that fp32 takes little room."""
    weight = tensors[0]
    if type(weight) not in (torch.Tensor, torch.nn.Parameter) or weight.numel() <= AT_ONCE:
        yield tuple(tensors)  # shards are small already
        return
    rows = max(1, AT_ONCE * weight.shape[0] // weight.numel())
    yield from zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)
