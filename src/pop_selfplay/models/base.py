"""The one seam to language models: `ChatModel`. Everything above it is plain async Python, everything below is a backend.

To add a backend, write a class with `complete` and `close` in a file beside this one, give it a config type in `config/`
and a line in `models.open_model`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, runtime_checkable

from pop_selfplay.config import Prices
from pop_selfplay.method.parsing import Form
from pop_selfplay.method.rubric_json import JsonSchema
from pop_selfplay.records import Completion, Message, Role, Token

__all__ = [
    "AnswersMany",
    "ChatModel",
    "ChatRequest",
    "Completion",
    "Constrains",
    "Notice",
    "Token",
    "complete_many",
    "constrains",
]

Notice = Callable[[str], None]
"""Is told, in one line, what the user of a model should know at once: that its server is down, say, or back."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call. `seed` decides the sample: the same request gives the same completion wherever the backend allows it.

    temperature ≥ 0 (0 is greedy), 0 < top_p ≤ 1, max_tokens ≥ 1 counts generated tokens only. `stop` is the closing tag after
    which nothing more is needed: a backend may stop there, and then keeps the tag in the text. `group` names the episode, so
    that a backend with several replicas can keep calls that share a prefix together. `schema` is the JSON schema of the whole
    completion, where one is asked for (then there is no `stop`): a backend that can decode by it must, others may ignore it.
    `form` is what the completion must look like: only a backend that said it `constrains` is given one, and decodes by it.
    `top_logprobs` k ≥ 1 asks for each token's k most probable alternatives: a backend that cannot tell them must refuse.
    """

    role: Role
    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: str = ""
    group: str = ""
    schema: JsonSchema | None = field(default=None, hash=False)
    top_logprobs: int = 0
    form: Form | None = field(default=None, hash=False)


class ChatModel(Protocol):
    """A model that answers conversations. Safe to call from many tasks of one event loop at once."""

    @property
    def name(self) -> str:
        """What to call this model in records and reports."""
        ...

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Raises ModelRefused when it never can, ModelUnavailable when patience has run out."""
        ...

    async def close(self) -> None:
        """Free connections, memory and processes. Idempotent."""
        ...


@runtime_checkable
class AnswersMany(Protocol):
    """A ChatModel that can answer several requests in one call, where they differ only by their seeds."""

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer all of `requests`, in order, as the same requests are answered every time; None where that cannot be done now.

        Raises what `complete` raises, then for all of them.
        """
        ...


@runtime_checkable
class Constrains(Protocol):
    """A ChatModel that may decode by a form."""

    async def constrains(self, role: Role) -> bool:
        """Tell whether it decodes the role's completions by their form, as tried out, and tell the user once.

        Raises what `complete` raises.
        """
        ...


async def constrains(model: ChatModel, role: Role) -> bool:
    """Tell whether `model` decodes the completions of `role` by their form."""
    return await model.constrains(role) if isinstance(model, Constrains) else False


async def complete_many(model: ChatModel, requests: Sequence[ChatRequest]) -> list[Completion] | None:
    """Answer `requests`, which differ only by their seeds, in one call; None where `model` wants them one at a time."""
    return await model.complete_many(requests) if isinstance(model, AnswersMany) else None


_CHARACTERS_PER_TOKEN: Final = 4


class Cost(NamedTuple):
    """Tokens (prompt and generated) and money."""

    tokens: float = 0
    money: float = 0.0

    def plus(self, other: "Cost", times: float = 1) -> "Cost":
        return Cost(self.tokens + times * other.tokens, self.money + times * other.money)


def most_cost(request: ChatRequest, prices: Prices | None) -> Cost:
    """Return what `request` costs if it is answered with all the tokens that it allows."""
    prompt = sum(len(message.content) for message in request.messages) // _CHARACTERS_PER_TOKEN
    return cost_of(prompt, 0, request.max_tokens, prices)


def cost_of(prompt: int, cached: int, generated: int, prices: Prices | None) -> Cost:
    """Return what so many tokens cost; without prices no money."""
    return Cost(prompt + generated, 0.0 if prices is None else prices.money(prompt, cached, generated))
