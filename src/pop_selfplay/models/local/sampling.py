"""One token per row, each row by its own temperature and top-p and from its own stream of numbers.

A token is drawn by inverting the cumulative distribution at one uniform number a step. The numbers come from the request's
seed alone, so a row draws the same whichever rows stand beside it.

How likely the alternatives of each token were, for the rows of a batch that ask: log-probabilities at temperature 1.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pop_selfplay.models.base import ChatRequest, Token


class Row(NamedTuple):
    """One request in a wave: its place there, its prompt as token ids, and how many tokens it may write."""

    place: int
    request: ChatRequest
    prompt: list[int]
    max_new: int


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


class Watcher:
    """Notes, step by step, the most probable tokens of the rows that asked for them; costs nothing where none did."""

    def __init__(self, tokenizer: Any, batch: Sequence[Row]) -> None:
        self._tokenizer = tokenizer
        self._asked = [row.request.top_logprobs for row in batch]
        self._most = max(self._asked)
        self._noted: list[list[list[tuple[int, float]]]] = [[] for _ in batch]
        self._texts: dict[int, str] = {}

    def note(self, rows: Sequence[int], logits: torch.Tensor) -> None:
        """Take in one step: `rows[place]` is the row of the batch behind `logits[place]`, [rows, vocabulary]."""
        if self._most == 0:
            return
        top = torch.log_softmax(logits, dim=-1).topk(min(self._most, logits.shape[-1]), dim=-1)
        for row, ids, logprobs in zip(rows, top.indices.tolist(), top.values.tolist(), strict=True):
            asked = self._asked[row]
            if asked:
                self._noted[row].append(list(zip(ids[:asked], logprobs[:asked], strict=True)))

    def tokens(self, row: int, written: Sequence[int]) -> tuple[Token, ...]:
        """Return the tokens that `row` has `written`, with their alternatives; none where the row did not ask."""
        noted = self._noted[row]
        if not noted:
            return ()
        return tuple(
            Token(self._text(token), tuple((self._text(other), logprob) for other, logprob in alternatives))
            for token, alternatives in zip(written, noted[: len(written)], strict=True)
        )

    def _text(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = str(self._tokenizer.decode([token], skip_special_tokens=True))
        return text
