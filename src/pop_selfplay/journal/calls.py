"""A model call in the journal: what it was for, what came of it, and its row.

The tokens of a call whose probabilities were asked for are one text in its row, a JSON list with an entry for each token: its
text alone, or [text, alternative, log-probability, alternative, …].
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pop_selfplay.records import Completion, Token

CALL_COLUMNS: Final = (
    "episode, role, item, attempt, round, digest, reason, text, finish_reason, prompt_tokens, cached_tokens, generated_tokens,"
    " probabilities"
)
INHERITED_COLUMNS: Final = (
    "episode, role, item, attempt, digest, text, finish_reason, prompt_tokens, cached_tokens, generated_tokens, probabilities"
)
STORE_CALL: Final = (
    f"INSERT INTO calls ({CALL_COLUMNS}) VALUES ({', '.join('?' for _ in CALL_COLUMNS.split(','))}) ON CONFLICT DO UPDATE SET"
    " round = excluded.round, digest = excluded.digest, reason = excluded.reason, text = excluded.text,"
    " finish_reason = excluded.finish_reason, prompt_tokens = excluded.prompt_tokens,"
    " cached_tokens = excluded.cached_tokens, generated_tokens = excluded.generated_tokens,"
    " probabilities = excluded.probabilities"
)


class CallKey(NamedTuple):
    """What a call was for: role and item within an episode, and the how-manieth attempt (from 0)."""

    round: int
    episode: str
    role: str
    item: str
    attempt: int


class StoredCall(NamedTuple):
    """A finished call. `reason` is why its text was refused, "" where it parsed, "repaired" where its JSON was mended."""

    digest: str
    reason: str
    completion: Completion


def call_row(key: CallKey, call: StoredCall) -> tuple[object, ...]:
    done = call.completion
    return (
        *(key.episode, key.role, key.item, key.attempt, key.round, call.digest, call.reason),
        *(done.text, done.finish_reason, done.prompt_tokens, done.cached_tokens, done.generated_tokens),
        encode_tokens(done.tokens),
    )


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
