"""Who of a run's own servers may run now: those that share a GPU take turns, because each one takes nearly all its memory.

A server keeps its turn as long as anybody asks it anything. When it idles and another one is asked, it is stopped.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final


@dataclass(eq=False)
class Turn:
    """One server's part: the GPUs it uses (None: all), how to stop it, and how many calls it has now."""

    gpus: frozenset[int] | None
    stop: Callable[[], Awaitable[None]]
    calls: int = 0

    def shares_with(self, other: "Turn") -> bool:
        return self.gpus is None or other.gpus is None or bool(self.gpus & other.gpus)


class Turns:
    """All turns of one event loop."""

    def __init__(self) -> None:
        self._holders: list[Turn] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def held(self, turn: Turn) -> AsyncIterator[None]:
        """Hold `turn` for one call: wait while others use its GPUs, and stop those that only occupy them."""
        async with self._changed:
            await self._changed.wait_for(lambda: not any(other.calls for other in self._rivals(turn)))
            for rival in self._rivals(turn):
                await rival.stop()
                self._holders.remove(rival)
            if turn not in self._holders:
                self._holders.append(turn)
            turn.calls += 1
        try:
            yield
        finally:
            turn.calls -= 1
            if not turn.calls:
                async with self._changed:
                    self._changed.notify_all()

    def _rivals(self, turn: Turn) -> Sequence[Turn]:
        return [other for other in self._holders if other is not turn and other.shares_with(turn)]


_TURNS: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = weakref.WeakKeyDictionary()


def turns_here() -> Turns:
    """Return the turns of the running event loop."""
    return _TURNS.setdefault(asyncio.get_running_loop(), Turns())
