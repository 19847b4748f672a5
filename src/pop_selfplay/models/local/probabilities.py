"""How likely the alternatives of each token were, for the rows of a batch that ask: log-probabilities at temperature 1."""

from collections.abc import Sequence
from typing import Any

import torch

from pop_selfplay.models.base import Token
from pop_selfplay.models.local.waves import Row


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
