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
class GPUClaim:
    """What one server claims: the GPUs it uses (None: all), how to stop it, and how many calls it has now."""

    gpus: frozenset[int] | None
    stop: Callable[[], Awaitable[None]]
    calls: int = 0

    def shares_with(self, other: "GPUClaim") -> bool:
        return self.gpus is None or other.gpus is None or bool(self.gpus & other.gpus)


class GPUSharing:
    """All claims in one event loop."""

    def __init__(self) -> None:
        self._holders: list[GPUClaim] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def held(self, claim: GPUClaim) -> AsyncIterator[None]:
        """Hold `claim` for one call: wait while others use its GPUs, and stop those that only occupy them."""
        async with self._changed:
            await self._changed.wait_for(lambda: not any(other.calls for other in self._rivals(claim)))
            for rival in self._rivals(claim):
                await rival.stop()
                self._holders.remove(rival)
            if claim not in self._holders:
                self._holders.append(claim)
            claim.calls += 1
        try:
            yield
        finally:
            claim.calls -= 1
            if not claim.calls:
                async with self._changed:
                    self._changed.notify_all()

    def _rivals(self, claim: GPUClaim) -> Sequence[GPUClaim]:
        return [other for other in self._holders if other is not claim and other.shares_with(claim)]


_SHARING: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, GPUSharing]] = weakref.WeakKeyDictionary()


def gpu_sharing_here() -> GPUSharing:
    """Return who shares GPUs in the running event loop."""
    return _SHARING.setdefault(asyncio.get_running_loop(), GPUSharing())
