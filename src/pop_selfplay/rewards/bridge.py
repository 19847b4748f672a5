"""An event loop in a thread of its own: synchronous callers hand it coroutines and wait for what they return.

A trainer is synchronous, and a notebook or another trainer may already run a loop in the calling thread. Models, clients and
the journal belong to the loop and thread they were opened in, so they are opened here, with the first work, and kept until
`close`.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

C = TypeVar("C")
T = TypeVar("T")


class Bridge(Generic[C]):
    """Works on what `opened` yields. It is entered in the thread, with the first work, and left by `close`."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[C]], *, name: str) -> None:
        self._opened = opened
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening = asyncio.Lock()
        self._inside: list[C] = []  # what `opened` yielded, once it has
        self._stack = AsyncExitStack()
        self._closed = False

    def submit(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        """Begin `work` in the thread and return at once. What opening and work raise is raised by the future.

        Raises RuntimeError once closed.
        """
        with self._lock:  # until the work is in the loop's hands: `close` then finds and cancels it
            if self._closed:
                raise RuntimeError("this judge was closed: make a new reward")
            return asyncio.run_coroutine_threadsafe(self._do(work), self._loop or self._start())

    def run(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        """Do `work` in the thread and return what it returns. An interrupt while waiting cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()  # nothing happens to one that is done

    def close(self) -> None:
        """Cancel what still goes on, leave what was opened, and end the thread. Idempotent."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._leave(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        # A daemon: a judge that nobody closed must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
        self._thread.start()
        return self._loop

    async def _do(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        async with self._opening:
            if not self._inside:
                self._inside.append(await self._stack.enter_async_context(self._opened()))
        return await work(self._inside[0])

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._stack.aclose()
