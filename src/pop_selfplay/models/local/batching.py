"""Which requests are generated together. Depends on the requests alone, so equal waves make equal batches.

Conversations to token ids, through the tokenizer's chat template (`models/chat_template.py`).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pop_selfplay.errors import RequestRefused
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.chat_template import render_prompt
from pop_selfplay.models.local.loading import Loaded
from pop_selfplay.models.model_files import check_ids
from pop_selfplay.records import Message, Role


class Row(NamedTuple):
    """One request in a wave: its place there, its prompt as token ids, and how many tokens it may write."""

    place: int
    request: ChatRequest
    prompt: list[int]
    max_new: int


def cut_into_batches(rows: Sequence[Row], batch_tokens: int, max_rows: int) -> Iterator[list[Row]]:
    """Yield `rows` in batches of at most `max_rows` rows and `batch_tokens` tokens, padding and answers counted.

    Rows of like length stand together, so that little is padded, and equal prompts side by side, so that each is read once. A
    single row beyond `batch_tokens` is a batch of its own.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=_likeness):
        longest = max((row.max_new, *(other.max_new for other in batch[-1:]))) + len(row.prompt)
        if batch and (len(batch) == max_rows or (len(batch) + 1) * longest > batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _likeness(row: Row) -> tuple[int, int, list[int], tuple[float, float, int, str]]:
    request = row.request
    return row.max_new, len(row.prompt), row.prompt, (request.temperature, request.top_p, request.seed, request.stop)


_Asked = tuple[Role, tuple[Message, ...]]


def encode(loaded: Loaded, requests: Sequence[ChatRequest]) -> list[list[int] | RequestRefused]:
    """Return each request's prompt as token ids, or why it cannot be asked. What is equal is encoded once."""
    ids: dict[_Asked, list[int] | RequestRefused] = {}
    texts: dict[_Asked, str] = {}
    for request in requests:
        asked = request.role, request.messages
        if asked not in ids and asked not in texts:
            try:
                texts[asked] = render_prompt(loaded.tokenizer, request.messages, loaded.thinking.of(request.role))
            except RequestRefused as refused:
                ids[asked] = refused
    if texts:
        # The template has written all special tokens already.
        encoded = loaded.tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"]
        ids.update(zip(texts, (_fitting(loaded, prompt) for prompt in encoded), strict=True))
    return [ids[request.role, request.messages] for request in requests]


def _fitting(loaded: Loaded, prompt: list[int]) -> list[int] | RequestRefused:
    if not prompt:
        return RequestRefused("the prompt is empty")
    if len(prompt) >= loaded.context:
        return RequestRefused(
            f"the prompt has {len(prompt)} tokens and the model's context {loaded.context}: shorten the document"
        )
    try:
        check_ids(prompt, loaded.vocabulary)
    except RequestRefused as refused:
        return refused
    return prompt
