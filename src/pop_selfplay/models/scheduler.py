"""The queue in front of one server: who may send next.

Requests wait in an order of priority, not of arrival: those of the episode that began first go first. So episodes end one after
the other instead of all at the very end, an episode's later stages overtake the earlier stages of others, and the run has a
short tail. Proposers go before everybody: their calls are few, and without problems there is nothing to keep the server full
with. The head of the queue is never overtaken, so nothing starves. What may be in flight at all is told by `limits.py`.
"""

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pop_selfplay.models.limits import Grant, Limits
from pop_selfplay.records import Role

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
