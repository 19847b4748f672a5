"""The shipped fake: a model that plays all four roles with seeded pseudo-text, for tests, drills and sizing a run.

| file | what |
| --- | --- |
| prose.py | pseudo-prose; how good an answer truly is, from which every verdict follows |
| drafts.py | what each role means to write, and how it goes wrong; the judge asked for probabilities |
| timing.py | when a server that batches continuously would be done |
| timed.py | a model that takes this long, and the statistics of its work |
| server.py | any model behind an OpenAI-compatible HTTP server |

A completion depends only on the config's seed, the messages and the request's seed: not on order, time or concurrency.
"""

import asyncio
import dataclasses
import hashlib
import random
from typing import Final, Literal

from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated.drafts import Draft, draft_for, probable_ratings, spoil, spoiled_by
from pop_selfplay.models.simulated.prose import LENGTHS, Lengths, prose
from pop_selfplay.models.simulated.timing import CHARACTERS_PER_TOKEN
from pop_selfplay.records import Message, Role

_CUT_AT: Final = 20


class SimulatedChatModel:
    """A ChatModel without a model. One token counts as four characters."""

    def __init__(self, config: SimulatedModel, *, name: str | None = None, lengths: Lengths | None = None) -> None:
        """`lengths` stand in for those that the config names."""
        self._config = config
        self._name = name or "simulated"
        self._lengths = lengths or LENGTHS[config.lengths]

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Write what `request.role` would write. A share `malformed_rate` of the completions is spoiled. Never raises."""
        # Also with 0 seconds this gives way to other tasks, so that callers interleave as they do with a real model.
        await asyncio.sleep(self._config.seconds_per_call)
        return self.write(request)

    def write(self, request: ChatRequest) -> Completion:
        """Do what `complete` does, at once."""
        rng = random.Random(_digest(self._config.seed, request.messages, request.seed))
        # Decoding by a form cannot go wrong.
        malformed = rng.random() < self._config.malformed_rate and request.form is None
        if request.top_logprobs:
            text, tokens = probable_ratings(request, rng, malformed=malformed)
            return dataclasses.replace(_finish(text, request), tokens=tokens, generated_tokens=len(tokens))
        draft = draft_for(request.role, request.messages, rng, self._lengths)
        if request.schema is not None and draft.items:
            # Decoding by a schema cannot go wrong but by ending too early.
            text = draft.render_by_schema()
            return _finish(text[:_CUT_AT] if malformed else text, request)
        text = spoil(draft, request.role, rng) if malformed else self._text(draft, request, rng)
        return _finish(text, request)

    async def close(self) -> None:
        pass

    def _text(self, draft: Draft, request: ChatRequest, rng: random.Random) -> str:
        if request.form is not None:
            return draft.render()
        if request.role == Role.SOLVER and self._config.runaway_rate and rng.random() < self._config.runaway_rate:
            return _runaway(draft, rng, request.max_tokens)
        for name, share in self._config.mistakes.items():
            if rng.random() < share and (spoiled := spoiled_by(name, draft, request.role)) is not None:
                return spoiled
        return draft.render()


def lengths_of(name: Literal["brief", "realistic"], *, answer: float | None, thinking: float | None) -> Lengths:
    """Return the lengths of that name, with other median words for an answer and what is thought before it where given."""
    usual = LENGTHS[name]
    return dataclasses.replace(
        usual,
        answer=usual.answer if answer is None else answer,
        thinking=usual.thinking if thinking is None else thinking,
    )


def _runaway(draft: Draft, rng: random.Random, max_tokens: int) -> str:
    """An answer that is opened and never closed, and longer than the tokens asked for."""
    return f"{draft.thoughts}\n<{draft.blocks[0][0]}>\n{prose(rng, max_tokens)}"


def _digest(seed: int, messages: tuple[Message, ...], request_seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {request_seed}".encode(), digest_size=8)
    for message in messages:
        digest.update(f"\0{message.role}\0{message.content}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")


def _finish(text: str, request: ChatRequest) -> Completion:
    """End `text` as a server would: after the stop tag, or where the tokens run out.

    A text that never says its stop tag counts as a run-away: a model that had ended by itself would have closed the tag.
    """
    end = text.find(request.stop) + len(request.stop) if request.stop and request.stop in text else len(text)
    limit = request.max_tokens * CHARACTERS_PER_TOKEN
    complete = end <= limit and (not request.stop or request.stop in text)
    text = text[: min(end, limit)]
    return Completion(
        text=text,
        finish_reason="stop" if complete else "length",
        prompt_tokens=sum(_tokens(message.content) for message in request.messages),
        generated_tokens=_tokens(text),
    )


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
