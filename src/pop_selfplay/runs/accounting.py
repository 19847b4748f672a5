"""Accounting: what a run has used, in tokens, money and hours, over all processes that ever worked on it.

Everything is computed from the journal, so nothing is counted twice or lost in a kill. A new kind of expense is a field of
`Usage`; a new limit belongs to `Budget` in config/ and to `Meter` in models/metered.py.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from pop_selfplay.config import Budget, Prices
from pop_selfplay.journal import Journal, Tally
from pop_selfplay.journal.notes import SECONDS
from pop_selfplay.models.metered import Meter
from pop_selfplay.records import Role

_LEAST: Final = 1e-9
_Apart = dict[tuple[int, str], tuple[tuple[int, int, int], float]]


class Usage(NamedTuple):
    """What one role used in one round: tokens, `cached` being a part of `prompt`, and money."""

    round: int
    role: str
    prompt: int
    cached: int
    generated: int
    money: float


PriceOf = Callable[[int, Role], Prices | None]
"""(round, role) → what the tokens of the model that plays it cost, None where that is not known. Round 0 is the measurement."""


class Account:
    """What the run of `journal` has spent of `budget`, by the prices of the models that play."""

    def __init__(
        self, journal: Journal, budget: Budget, price_of: PriceOf, apart: Mapping[str, Prices | None] | None = None
    ) -> None:
        """`apart` has the prices of calls under a prefix of their episode, where another model answers them than its role's."""
        self._journal, self._budget, self._price_of = journal, budget, price_of
        self._apart = apart or {}
        self._known, self._looked = _Apart(), -math.inf
        self._note_seconds: Callable[[], None] | None = None
        self._noted = -math.inf

    def usage(self, tally: Tally, *, within_s: float = 0) -> list[Usage]:
        """Return what each role used in each round, and what it cost. 0 where the model that played has no prices.

        What models apart cost may be as old as `within_s` seconds: it is not in the tally, and takes a look at their calls.
        The tally does not tell a trained model's answers to held-out problems from the starting model's, so that both count at
        the starting model's prices.
        """
        used, others = [], self._others(within_s)
        for round_, role, prompt, cached, generated in tally.tokens_by_role():
            theirs, money = others.get((round_, role), ((0, 0, 0), 0.0))
            if (prices := self._price_of(round_, Role(role))) is not None:
                mine = zip((prompt, cached, generated), theirs, strict=True)
                money += prices.money(*(max(0, tokens - others_) for tokens, others_ in mine))
            used.append(Usage(round_, role, prompt, cached, generated, money))
        return used

    def _others(self, within_s: float) -> _Apart:
        """Return (round, role) → tokens of the models that have prices of their own, and what they cost."""
        if time.monotonic() - self._looked < within_s:
            return self._known
        found: _Apart = {}
        for prefix, prices in self._apart.items():
            for round_, role, prompt, cached, generated in self._journal.tokens_under(prefix):
                money = prices.money(prompt, cached, generated) if prices else 0.0
                found[round_, role] = (prompt, cached, generated), money
        self._known, self._looked = found, time.monotonic()
        return found

    def money(self, tally: Tally, *, within_s: float = 0) -> float:
        """Return what the calls of `tally` cost by the config's prices."""
        return sum(usage.money for usage in self.usage(tally, within_s=within_s))

    def meter(self) -> Meter:
        """Return a meter that begins with what the run has spent so far, over all sessions."""
        tally = self._journal.tally
        seconds = sum(SECONDS.values(self._journal))
        return Meter(
            self._budget,
            tokens=tally.total_tokens("prompt") + tally.total_tokens("generated"),
            money=self.money(tally),
            hours=seconds / 3600,
        )

    def left(self) -> Budget:
        """Return what is left of the budget, the least that a budget may be where a limit is reached."""
        budget, tally = self._budget, self._journal.tally
        tokens = tally.total_tokens("prompt") + tally.total_tokens("generated")
        hours = sum(SECONDS.values(self._journal)) / 3600
        return Budget(
            tokens=None if budget.tokens is None else max(1, budget.tokens - tokens),
            money=None if budget.money is None else max(_LEAST, budget.money - self.money(tally)),
            hours=None if budget.hours is None else max(_LEAST, budget.hours - hours),
        )

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds this takes to the note SECONDS of `what`, over all sessions; a killed one has noted all but the last.

        Raises BudgetSpent, before it begins, when a limit of the budget is reached.
        """
        self.meter().check()
        self._noted = -math.inf
        start, before = time.monotonic(), SECONDS.read(self._journal, what) or 0.0

        def note() -> None:
            SECONDS.write(self._journal, before + time.monotonic() - start, what)

        self._note_seconds = note
        try:
            yield
        finally:
            self._note_seconds = None
            note()

    def note_seconds(self) -> None:
        """Note the seconds of what is timed so far, at most once a second. To be called now and then while it goes on."""
        if self._note_seconds is not None and time.monotonic() - self._noted >= 1:
            self._note_seconds()
            self._noted = time.monotonic()
