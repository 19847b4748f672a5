"""The tokens of a call as one text for its row: "" where their probabilities were not asked for.

A JSON list with one entry per token: its text alone, or [text, alternative, log-probability, alternative, …].
"""

import json
from collections.abc import Sequence
from typing import Any

from pop_selfplay.records import Token


def encode_tokens(tokens: Sequence[Token]) -> str:
    """Return `tokens` as text; `decode_tokens` gives them back exactly."""
    if not tokens:
        return ""
    entries = [[t.text, *(part for pair in t.alternatives for part in pair)] if t.alternatives else t.text for t in tokens]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


def decode_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens of a call. Raises ValueError when `text` is not what `encode_tokens` writes."""
    if not text:
        return ()
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError(f"expected a list, got {text[:40]!r}")
    return tuple(_token(entry) for entry in entries)


def _token(entry: Any) -> Token:
    head, *rest = entry if isinstance(entry, list) and entry else [entry]
    others, logprobs = rest[::2], rest[1::2]
    if not isinstance(head, str) or len(others) != len(logprobs):
        raise ValueError(f"{entry!r:.80} is no token")
    if not all(isinstance(other, str) for other in others) or not all(isinstance(p, float) for p in logprobs):
        raise ValueError(f"{entry!r:.80} is no token with alternatives")
    return Token(head, tuple(zip(others, logprobs, strict=True)))
