"""How much may be asked of one server at a time: sequences in flight, requests a minute, tokens a minute.

The limit on what is in flight adapts: it is halved when the server says 429 and grows again by a 32nd of its maximum with every
round of answers (additive increase, multiplicative decrease; Chiu and Jain, 1989). Requests that were sent before the last cut
do not cut again: they tell of the same overload. Nothing here waits or reads a clock of its own, so that every rule can be
tested by the second. Waiting is `scheduler.py`'s.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

Clock = Callable[[], float]

_ROUNDS_TO_GROW: Final = 32
_MINUTE_S: Final = 60.0


@dataclass(slots=True, eq=False)
class _Spent:
    at: float
    amount: float


class PerMinute:
    """At most `most` of something within any 60 seconds, to the exact window."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._window: deque[_Spent] = deque()
        self._total = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Return how many seconds must pass before `amount` fits, 0 when it fits now. More than `most` fits an empty window."""
        while self._window and self._window[0].at <= now - _MINUTE_S:
            self._total -= self._window.popleft().amount
        over = self._total + min(amount, self._most) - self._most
        for spent in self._window:
            if over <= 0:
                break
            over -= spent.amount
            if over <= 0:
                return spent.at + _MINUTE_S - now
        return 0.0

    def spend(self, now: float, amount: float) -> _Spent:
        spent = _Spent(now, amount)
        self._window.append(spent)
        self._total += amount
        return spent

    def correct(self, spent: _Spent, amount: float) -> None:
        """What was estimated at sending has turned out to be `amount`."""
        if self._window and spent.at >= self._window[0].at:
            self._total += amount - spent.amount
            spent.amount = amount


@dataclass(slots=True, eq=False)
class Grant:
    """Leave to have `weight` sequences in flight. `tokens` is what each try is expected to cost."""

    weight: int
    tokens: float
    sent_at: float = 0.0
    _spent: _Spent | None = field(default=None, repr=False)


class Limits:
    """The limits of one server and what is in flight under them."""

    def __init__(
        self,
        max_in_flight: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._max = float(max_in_flight)
        self._window = self._max
        self._in_flight = 0
        self._requests = PerMinute(requests_per_minute) if requests_per_minute else None
        self._tokens = PerMinute(tokens_per_minute) if tokens_per_minute else None
        self._hold_until = self._cut_at = float("-inf")
        self._clock = clock

    @property
    def in_flight(self) -> int:
        """Sequences that hold a grant now, those included that wait to be tried again."""
        return self._in_flight

    @property
    def most_in_flight(self) -> int:
        """The limit of this moment, between 1 and the maximum."""
        return int(self._window)

    def fits(self, weight: int) -> bool:
        """Tell whether `weight` more sequences may be in flight. More than the limit may when nothing else is."""
        return self._in_flight == 0 or self._in_flight + weight <= int(self._window)

    def wait_s(self, tokens: float) -> float:
        """Return in how many seconds a request of about `tokens` tokens may be sent, as far as time decides it."""
        now = self._clock()
        waits = [self._hold_until - now]
        if self._requests is not None:
            waits.append(self._requests.wait_s(now, 1))
        if self._tokens is not None:
            waits.append(self._tokens.wait_s(now, tokens))
        return max(0.0, *waits)

    def grant(self, weight: int, tokens: float) -> Grant:
        """Put `weight` sequences in flight. Call only when they fit."""
        self._in_flight += weight
        return Grant(weight, tokens)

    def sending(self, grant: Grant) -> None:
        """Note that a try begins. Call only when `wait_s` is 0."""
        grant.sent_at = now = self._clock()
        if self._requests is not None:
            self._requests.spend(now, 1)
        if self._tokens is not None:
            grant._spent = self._tokens.spend(now, grant.tokens)

    def answered(self, grant: Grant, tokens: int) -> None:
        """The try succeeded and cost `tokens` tokens; 0 where the server did not say."""
        self._window = min(self._max, self._window + max(1.0, self._max / _ROUNDS_TO_GROW) * grant.weight / self._window)
        if self._tokens is not None and grant._spent is not None and tokens:
            self._tokens.correct(grant._spent, tokens)

    def throttled(self, grant: Grant, retry_after_s: float) -> None:
        """The server said that it is too much, and to send nothing for `retry_after_s` seconds."""
        now = self._clock()
        if grant.sent_at >= self._cut_at:
            self._window = max(1.0, min(self._window, float(self._in_flight)) / 2)
            self._cut_at = now
        self._hold_until = max(self._hold_until, now + retry_after_s)

    def give_back(self, grant: Grant) -> None:
        """The request is done, whatever became of it."""
        self._in_flight -= grant.weight
