"""Demonstrations → token sequences with a weight per target → padded batches of similar length."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from tools.pocket import demonstrations
from tools.pocket.demonstrations import Demonstration

from pop_selfplay.pocket.world import World

PROMPT_WEIGHT: Final = 0.15
"""Weight of a prompt's tokens as targets; a completion's tokens weigh 1."""
RATING_WEIGHT: Final = 4.0
"""Weight of a rating as a target: the one token of a judgement that is hard."""
COMPARISONS: Final = 18
"""Comparisons in one sequence."""

Maker = Callable[[World, random.Random], Any]


class Kind(NamedTuple):
    """One kind of sequence: how many a step holds, and what their mean loss counts."""

    per_step: int
    weight: float


class Sequence_(NamedTuple):
    """Token ids, and for each token what its prediction counts (0: not a target)."""

    ids: list[int]
    weights: list[float]


class Batch(NamedTuple):
    """`ids` and `weights` (both rows × length), padded on the right. Weights add up to the kinds' weights over one step."""

    ids: torch.Tensor
    weights: torch.Tensor
    tokens: int


class Feeder:
    """Makes the batches of each step, the same for the same seed."""

    def __init__(self, world: World, tokenizer: Any, seed: int) -> None:
        self._world = world
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)
        self._digits = {tokenizer.convert_tokens_to_ids(digit) for digit in "012"}

    def step(self, mix: Mapping[str, Kind], batch_tokens: int) -> Iterator[Batch]:
        """Yield the batches of one optimiser step, each of about `batch_tokens` tokens."""
        made: list[tuple[Sequence_, float]] = []
        for kind, (count, weight) in mix.items():
            sequences = self.sequences(kind, count)
            total = sum(sum(sequence.weights) for sequence in sequences)
            made += [(sequence, weight / total) for sequence in sequences]
        made.sort(key=lambda item: len(item[0].ids))
        start = 0
        for end in range(1, len(made) + 1):
            if end == len(made) or (end + 1 - start) * len(made[end][0].ids) > batch_tokens:
                yield self._batch(made[start:end])
                start = end

    def sequences(self, kind: str, count: int) -> list[Sequence_]:
        """Return `count` fresh sequences of a kind: article, comparison, or one of demonstrations.ROLES."""
        if kind == "article":
            return self._texts([demonstrations.article(self._world, self._rng) for _ in range(count)])
        if kind == "comparison":
            rows = ["".join(demonstrations.comparison(self._rng) for _ in range(COMPARISONS)) for _ in range(count)]
            return self._ratings_only(rows)
        return self.conversations([demonstrations.ROLES[kind](self._world, self._rng) for _ in range(count)])

    def conversations(self, shown: Sequence[Demonstration]) -> list[Sequence_]:
        """Return each demonstration as the chat template renders it."""
        prompts = [
            self._tokenizer.apply_chat_template(
                [message.model_dump() for message in demonstration.messages], tokenize=False, add_generation_prompt=True
            )
            for demonstration in shown
        ]
        heads = self._encode(prompts)
        tails = self._encode([demonstration.completion for demonstration in shown])
        end = [self._tokenizer.eos_token_id]
        return [
            Sequence_(head + tail + end, [0.0] + [PROMPT_WEIGHT] * (len(head) - 1) + self._completion_weights(tail) + [1.0])
            for head, tail in zip(heads, tails, strict=True)
        ]

    def _completion_weights(self, ids: Sequence[int]) -> list[float]:
        return [RATING_WEIGHT if i in self._digits else 1.0 for i in ids]

    def _texts(self, texts: Sequence[str]) -> list[Sequence_]:
        bos, eos = [self._tokenizer.bos_token_id], [self._tokenizer.eos_token_id]
        return [Sequence_(bos + ids + eos, [0.0] + [1.0] * (len(ids) + 1)) for ids in self._encode(texts)]

    def _ratings_only(self, texts: Sequence[str]) -> list[Sequence_]:
        bos = [self._tokenizer.bos_token_id]
        return [Sequence_(bos + ids, [0.0] + [float(i in self._digits) for i in ids]) for ids in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [
            encoding.ids for encoding in self._tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]

    def _batch(self, rows: Sequence[tuple[Sequence_, float]]) -> Batch:
        length = max(len(sequence.ids) for sequence, _ in rows)
        ids = torch.full((len(rows), length), self._tokenizer.pad_token_id)
        weights = torch.zeros(len(rows), length)
        for row, (sequence, scale) in enumerate(rows):
            ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
            weights[row, : len(sequence.ids)] = torch.tensor(sequence.weights) * scale
        return Batch(ids, weights, sum(len(sequence.ids) for sequence, _ in rows))
