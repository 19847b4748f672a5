"""The shipped fake: a model that plays all four roles with seeded pseudo-text, for tests, drills and sizing a run.

| file | what |
| --- | --- |
| drafts.py | what each role means to write, and the ratings that follow from an answer's hidden quality |
| mistakes.py | the ways in which a completion can be malformed |
| probable_ratings.py | the judge that is asked for the probabilities of its ratings |
| server.py | the same model behind an OpenAI-compatible HTTP server, with HTTP faults |

A completion depends only on the config's seed, the messages and the request's seed: not on order, time or concurrency.
"""

import asyncio
import hashlib
import random
from dataclasses import replace

from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated.drafts import draft_for
from pop_selfplay.models.simulated.mistakes import spoil
from pop_selfplay.models.simulated.probable_ratings import probable_ratings
from pop_selfplay.records import Message

_CHARACTERS_PER_TOKEN = 4


class SimulatedChatModel:
    """A ChatModel without a model. One token counts as four characters."""

    def __init__(self, config: SimulatedModel, *, name: str | None = None) -> None:
        self._config = config
        self._name = name or "simulated"

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Write what `request.role` would write. A share `malformed_rate` of the completions is spoiled. Never raises."""
        # Also with 0 seconds this gives way to other tasks, so that callers interleave as they do with a real model.
        await asyncio.sleep(self._config.seconds_per_call)
        rng = random.Random(_digest(self._config.seed, request.messages, request.seed))
        malformed = rng.random() < self._config.malformed_rate
        if request.top_logprobs:
            text, tokens = probable_ratings(request, rng, malformed=malformed)
            return replace(_finish(text, request), tokens=tokens, generated_tokens=len(tokens))
        draft = draft_for(request.role, request.messages, rng)
        text = spoil(draft, request.role, rng) if malformed else draft.render()
        return _finish(text, request)

    async def close(self) -> None:
        pass


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
    limit = request.max_tokens * _CHARACTERS_PER_TOKEN
    complete = end <= limit and (not request.stop or request.stop in text)
    text = text[: min(end, limit)]
    return Completion(
        text=text,
        finish_reason="stop" if complete else "length",
        prompt_tokens=sum(_tokens(message.content) for message in request.messages),
        generated_tokens=_tokens(text),
    )


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
