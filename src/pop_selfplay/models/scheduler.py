"""The queue in front of one server, and how much it may be asked at a time.

`Limits` counts sequences in flight, requests and tokens a minute, and grows back after HTTP 429; `Scheduler` says who may send
next.
"""

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pop_selfplay.records import Role

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


Priority = tuple[int, int]

_FIRST: Final[Priority] = (-1, 0)
_REMEMBERED: Final = 20_000
"""Episodes whose place is remembered; far more than are ever in flight, far fewer than a run has."""


class Places:
    """The order in which episodes first asked for anything, which is the order in which they began."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._places: OrderedDict[str, int] = OrderedDict()
        self._next = itertools.count()
        self._remembered = remembered

    def priority(self, group: str, role: Role) -> Priority:
        """Return the priority of a call, smaller first. Calls without a group take their turn as they come."""
        place = self._places.get(group) if group else None
        if place is None:
            place = next(self._next)
        if group:
            self._places[group] = place
            self._places.move_to_end(group)
            if len(self._places) > self._remembered:
                self._places.popitem(last=False)
        return (0 if role is Role.PROPOSER else 1, place)


@dataclass(slots=True, eq=False)
class _Waiting:
    weight: int
    tokens: float
    turn: asyncio.Future[None]
    grant: Grant | None = None


class Scheduler:
    """Lets requests through to one server in the order of their priority, as its limits allow."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._queue: list[tuple[Priority, int, _Waiting]] = []
        self._arrivals = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_weight = 0

    @property
    def load(self) -> int:
        """Sequences in flight or waiting here."""
        return self.limits.in_flight + self._waiting_weight

    @asynccontextmanager
    async def turn(self, priority: Priority, weight: int, tokens: float) -> AsyncIterator[Grant]:
        """Wait for a turn and hold `weight` sequences in flight for the time of the block; its first try may begin at once."""
        waiting = _Waiting(weight, tokens, asyncio.get_running_loop().create_future())
        await self._wait(priority, waiting)
        assert waiting.grant is not None
        try:
            yield waiting.grant
        finally:
            self.limits.give_back(waiting.grant)
            self.dispatch()

    async def again(self, grant: Grant) -> None:
        """Wait until another try of a request that holds its grant may begin. It goes before all that hold none."""
        await self._wait(_FIRST, _Waiting(0, grant.tokens, asyncio.get_running_loop().create_future(), grant))

    async def _wait(self, priority: Priority, waiting: _Waiting) -> None:
        heapq.heappush(self._queue, (priority, next(self._arrivals), waiting))
        self._waiting_weight += waiting.weight
        self.dispatch()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            # Cancelled in the very moment in which its turn had come: the turn is somebody else's now.
            if waiting.weight and waiting.grant is not None:
                self.limits.give_back(waiting.grant)
            elif waiting.grant is None:
                self._waiting_weight -= waiting.weight
            self.dispatch()
            raise

    def dispatch(self) -> None:
        """Let through whoever may go now. Called whenever that may have changed."""
        while self._queue:
            _, _, head = self._queue[0]
            if head.turn.done():  # cancelled while it waited
                heapq.heappop(self._queue)
                continue
            if head.weight and not self.limits.fits(head.weight):
                return  # whoever ends next comes by here
            seconds = self.limits.wait_s(head.tokens)
            if seconds > 0:
                self._come_back_in(seconds)
                return
            heapq.heappop(self._queue)
            if head.grant is None:
                self._waiting_weight -= head.weight
                head.grant = self.limits.grant(head.weight, head.tokens)
            self.limits.sending(head.grant)
            head.turn.set_result(None)

    def _come_back_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.dispatch)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
