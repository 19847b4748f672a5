"""Conversations to token ids, through the tokenizer's chat template (`models/chat_template.py`)."""

from collections.abc import Sequence

from pop_selfplay.errors import RequestRefused
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.chat_template import render_prompt
from pop_selfplay.models.local.loading import Loaded
from pop_selfplay.records import Message


def encode(loaded: Loaded, requests: Sequence[ChatRequest]) -> list[list[int] | RequestRefused]:
    """Return each request's prompt as token ids, or why it cannot be asked. Equal conversations are encoded once."""
    ids: dict[tuple[Message, ...], list[int] | RequestRefused] = {}
    texts: dict[tuple[Message, ...], str] = {}
    for request in requests:
        messages = request.messages
        if messages not in ids and messages not in texts:
            try:
                texts[messages] = render_prompt(loaded.tokenizer, messages)
            except RequestRefused as refused:
                ids[messages] = refused
    if texts:
        # The template has written all special tokens already.
        encoded = loaded.tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"]
        ids.update(zip(texts, (_fitting(loaded, prompt) for prompt in encoded), strict=True))
    return [ids[request.messages] for request in requests]


def _fitting(loaded: Loaded, prompt: list[int]) -> list[int] | RequestRefused:
    if not prompt:
        return RequestRefused("the prompt is empty")
    if len(prompt) >= loaded.context:
        return RequestRefused(
            f"the prompt has {len(prompt)} tokens and the model's context {loaded.context}: shorten the document"
        )
    return prompt
