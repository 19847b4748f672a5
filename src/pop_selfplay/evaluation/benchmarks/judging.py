"""How our own tasks ask the judge: strictly parsed, asked again when half an answer came, and never guessed at."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig, Model

from pop_selfplay.core.parsing import Parsed, Rejection
from pop_selfplay.records import Message

T = TypeVar("T")

ATTEMPTS: Final = 3
RETRY_TEMPERATURE: Final = 0.7
"""A greedy judge would only repeat what could not be read."""


async def ask_judge(judge: Model, messages: Sequence[Message], parse: Callable[[str], Parsed[T] | Rejection]) -> T | Rejection:
    """Return what the judge says, or why its last answer could not be read."""
    rejection = Rejection("not_asked")
    conversation = [_chat(message) for message in messages]
    for attempt in range(ATTEMPTS):
        config = GenerateConfig(temperature=RETRY_TEMPERATURE if attempt else 0.0)
        parsed = parse((await judge.generate(conversation, config=config)).completion)
        if not isinstance(parsed, Rejection):
            return parsed.value
        rejection = parsed
    return rejection


def _chat(message: Message) -> ChatMessage:
    return (ChatMessageSystem if message.role == "system" else ChatMessageUser)(content=message.content)
