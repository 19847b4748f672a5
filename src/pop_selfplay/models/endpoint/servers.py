"""The servers behind one endpoint: replicas of each other. Which one a call goes to, and which of them are down.

All calls of an episode go to one replica, because their prompts begin alike and it has these beginnings in its prefix cache. A
new episode goes to the one with the least load. Only when an episode's replica is down does it move.
"""

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from pop_selfplay.models.limits import Clock
from pop_selfplay.models.scheduler import Scheduler

_REMEMBERED: Final = 20_000
_QUIET_S: Final = 5.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Server:
    """One server: its address, its queue, and whether it is there."""

    def __init__(self, url: str, queue: Scheduler, *, clock: Clock = time.monotonic) -> None:
        self.url, self.queue = url, queue
        self.answered_at = self.failed_at = float("-inf")
        self.doubted = asyncio.Lock()
        """Held by the one call that finds out whether the server answers anybody."""
        self.down, self._down_since = False, float("-inf")
        self._clock = clock
        self._back = asyncio.Event()
        self._pause_s, self._try_at = _FIRST_PAUSE_S, 0.0

    def seems_up(self) -> bool:
        """Tell whether calls should go here. One that is down seems up to one caller now and then, who will find out."""
        if not self.down:
            return True
        if self._clock() < self._try_at:
            return False
        self._postpone()
        return True

    def answered(self, sent_at: float) -> bool:
        """Note an answer, and wake all who wait for one; tell whether the server was down until now.

        The answer to a call that was sent before it went down is a last one, and no sign that it is back.
        """
        self.answered_at = self._clock()
        if self.down and sent_at < self._down_since:
            return False
        was_down, self.down, self._pause_s = self.down, False, _FIRST_PAUSE_S
        self._back.set()
        return was_down

    def failed(self) -> None:
        """Note that the server does not even answer a small call."""
        self.failed_at = self._clock()

    def absent(self, *, unreachable: bool) -> bool:
        """Note that nobody answered; tell whether the server was thought to be up.

        One that let no connection through is down. A proxy's word that nobody is behind it (502, 503, 504) counts only when
        nothing was answered for some seconds: some servers say it when they are merely full.
        """
        if self.down or not (unreachable or self._clock() - self.answered_at > _QUIET_S):
            return False
        self.down, self._down_since = True, self._clock()
        self._back.clear()
        self._postpone()
        return True

    async def wait(self, seconds: float) -> None:
        """Sleep; if the server is down, no longer than until it is back."""
        if not self.down:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._back.wait()

    def _postpone(self) -> None:
        self._try_at = self._clock() + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)


class Servers:
    """All replicas, and which episode is at home on which."""

    def __init__(self, servers: Sequence[Server], remembered: int = _REMEMBERED) -> None:
        self._servers = tuple(servers)
        self._homes: OrderedDict[str, Server] = OrderedDict()
        self._remembered = remembered

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    @property
    def have_answered(self) -> bool:
        """Whether any of them has ever answered."""
        return any(server.answered_at > float("-inf") for server in self._servers)

    def choose(self, group: str) -> Server:
        """Return where a call of the episode `group` goes: home, or to the least load where it has none or home is down."""
        home = self._homes.get(group) if group else None
        if home is None or not (home.seems_up() or len(self._servers) == 1):
            up = [server for server in self._servers if server is not home and server.seems_up()]
            home = min(up or self._servers, key=lambda server: server.queue.load)
        if group:
            self._homes[group] = home
            self._homes.move_to_end(group)
            if len(self._homes) > self._remembered:
                self._homes.popitem(last=False)
        return home

    def others_up(self, than: Server) -> bool:
        """Tell whether a call that found `than` down may find another one up."""
        return any(server is not than and not server.down for server in self._servers)
