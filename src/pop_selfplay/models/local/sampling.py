"""One token per row, each row by its own temperature and top-p and from its own stream of numbers.

A token is drawn by inverting the cumulative distribution at one uniform number a step. The numbers come from the request's
seed alone, so a row draws the same whichever rows stand beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pop_selfplay.models.base import ChatRequest


class Sampler(NamedTuple):
    """How the rows of a batch sample: temperature and top_p [rows], uniforms in [0, 1) [rows, steps]."""

    temperature: torch.Tensor
    top_p: torch.Tensor
    uniforms: torch.Tensor
    all_greedy: bool
    all_open: bool

    def pick(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Return the next token of each row, [rows], for float32 `logits` [rows, vocabulary]."""
        greedy = logits.argmax(dim=-1)
        if self.all_greedy:
            return greedy
        probabilities = torch.softmax(logits / self.temperature.clamp(min=1e-6)[:, None], dim=-1)
        if not self.all_open:
            probabilities = _nucleus(probabilities, self.top_p)
        cumulative = probabilities.cumsum(dim=-1)
        # Strictly below the total, since the uniforms are multiples of 2**-24 below 1: a token of probability 0 is never met.
        target = self.uniforms[:, step, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, target, right=True)[:, 0]
        return torch.where(self.temperature == 0, greedy, drawn)

    def keep(self, rows: torch.Tensor) -> "Sampler":
        """Return the sampler of these rows alone."""
        return self._replace(temperature=self.temperature[rows], top_p=self.top_p[rows], uniforms=self.uniforms[rows])


def sampler_for(requests: Sequence[ChatRequest], steps: int, device: torch.device) -> Sampler:
    """Return the sampler of a batch whose rows answer `requests` with at most `steps` tokens."""
    uniforms = np.zeros((len(requests), steps), dtype=np.float32)
    for row, request in enumerate(requests):
        if request.temperature > 0:
            uniforms[row] = np.random.Generator(np.random.Philox(key=request.seed)).random(steps, dtype=np.float32)
    return Sampler(
        temperature=torch.tensor([request.temperature for request in requests], device=device),
        top_p=torch.tensor([request.top_p for request in requests], device=device),
        uniforms=torch.from_numpy(uniforms).to(device),
        all_greedy=all(request.temperature == 0 for request in requests),
        all_open=all(request.top_p == 1 for request in requests),
    )


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep, per row, the fewest most probable tokens that reach `top_p` together; the others get 0."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill((before >= top_p[:, None]) & (top_p < 1)[:, None], 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
