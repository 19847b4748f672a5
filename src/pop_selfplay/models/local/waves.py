"""Which requests are generated together. Depends on the requests alone, so equal waves make equal batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pop_selfplay.models.base import ChatRequest


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
