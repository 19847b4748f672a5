"""Counts of a run, as the journal keeps them next to its rows, so that a live view and a budget cost a few rows to read."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from pop_selfplay.results.base import Tokens


class Spent(NamedTuple):
    """What some calls took: how many they were, and their tokens, `cached` being a part of `prompt`."""

    calls: int
    prompt: int
    cached: int
    generated: int


@dataclass
class Tally:
    """What the run directory holds at one moment, over all sessions: each call and episode in it counts once.

    calls[(round, role, reason)] counts model calls, reason "" where they parsed and
    "repaired" where they parsed after their JSON was mended. tokens[(round, role, kind)] counts prompt, cached
    and generated tokens. episodes[(round, stage, reason)] counts finished ones, stage and reason "" where they were scored.
    """

    calls: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    tokens: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    episodes: Counter[tuple[int, str, str]] = field(default_factory=Counter)

    def plus(self, other: "Tally") -> "Tally":
        """Return the counts of both."""
        return Tally(self.calls + other.calls, self.tokens + other.tokens, self.episodes + other.episodes)

    def minus(self, other: "Tally") -> "Tally":
        """Return what is counted here beyond `other`."""
        return Tally(self.calls - other.calls, self.tokens - other.tokens, self.episodes - other.episodes)

    def add_calls(self, round_: int, role: str, reason: str, calls: int, prompt: int, cached: int, generated: int) -> None:
        self.calls[round_, role, reason] += calls
        for kind, count in (("prompt", prompt), ("cached", cached), ("generated", generated)):
            self.tokens[round_, role, kind] += count

    def total_tokens(self, kind: str, round_: int | None = None) -> int:
        """Sum of `kind` tokens ("prompt", "cached" or "generated") over all roles, of one round or of all."""
        return sum(n for (r, _, k), n in self.tokens.items() if k == kind and round_ in (None, r))

    def all_tokens(self, round_: int | None = None) -> Tokens:
        """Return the tokens of every kind over all roles, of one round or of all."""
        prompt, cached, generated = (self.total_tokens(kind, round_) for kind in ("prompt", "cached", "generated"))
        return Tokens(prompt=prompt, cached=cached, generated=generated)

    def tokens_by_role(self) -> list[tuple[int, str, int, int, int]]:
        """Return (round, role, prompt, cached, generated) tokens of every round and role that made calls, in order."""
        played = sorted({(round_, role) for round_, role, _ in self.tokens})
        of = self.tokens
        return [(r, role, of[r, role, "prompt"], of[r, role, "cached"], of[r, role, "generated"]) for r, role in played]

    def calls_by_role(self) -> dict[str, Counter[str]]:
        """Return role -> reason -> calls, reason "valid" where they parsed, over all rounds."""
        by_role: dict[str, Counter[str]] = {}
        for (_, role, reason), count in sorted(self.calls.items()):
            by_role.setdefault(role, Counter())[reason or "valid"] += count
        return by_role
