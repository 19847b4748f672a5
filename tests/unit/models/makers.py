"""Makers for the tests of the model backends."""

from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Message, Role


def make_request(
    user: str = "Why is moss green?",
    *,
    system: str = "",
    role: Role = Role.SOLVER,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 4096,
    seed: int = 0,
    stop: str = "",
    top_logprobs: int = 0,
) -> ChatRequest:
    parts = ([Message(role="system", content=system)] if system else []) + [Message(role="user", content=user)]
    return ChatRequest(role, tuple(parts), temperature, top_p, max_tokens, seed, stop, top_logprobs=top_logprobs)
