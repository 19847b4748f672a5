"""Many coroutines at once, structured, and how their work ends when a signal comes.

`together` is how every room waits for several calls. Of Ctrl-C and SIGTERM the first ends the work gently, more of them within
moments change nothing, a later one ends it at once; else a second signal would strike while the first is worked through, and
what is being closed would die with tracebacks. `install` is for the command line alone; in anybody else's process `run_to_end`
is `asyncio.run`.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from types import FrameType
from typing import Any, Final, TypeVar

from pop_selfplay.errors import PopError

T = TypeVar("T")

_DEAF_S: Final = 2.0
"""Seconds after the first signal in which more are the same wish: a double Ctrl-C, or one from each of two senders."""


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all coroutines at once and return their results in order.

    The first error cancels the rest. One PopError is raised out of the group: a dead server fails every call in flight with the
    same words, and one of them is enough.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        ours, others = errors.split(PopError)
        if ours is None or others is not None:
            raise
        raise _first(ours) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[PopError]) -> PopError:
    error: PopError | BaseExceptionGroup[PopError] = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Interrupts:
    """What the handler knows: when the first signal came, and how to end the event loop that is running."""

    first: float | None = None
    end_loop: Callable[[], None] | None = None
    last_words: str = ""


_STATE: Final = _Interrupts()


def install(last_words: str) -> None:
    """Handle SIGINT and SIGTERM of this process; `last_words` go to standard error when it has to end at once."""
    _STATE.first, _STATE.last_words = None, last_words
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)


def leave() -> None:
    """Let signals do nothing to a process that was interrupted and only has to exit: Python gives up its handlers before."""
    if _STATE.first is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in an event loop of its own; an interrupt cancels it, and is raised as KeyboardInterrupt once it has ended."""

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end() -> None:
            loop.call_soon_threadsafe(task.cancel)

        _STATE.end_loop = end
        try:
            done = await work
        finally:
            _STATE.end_loop = None
        if task.cancelling():  # a library on the way has kept the interrupt to itself
            raise asyncio.CancelledError
        return done

    before = _STATE.first
    try:
        done = asyncio.run(cancellable())
    except asyncio.CancelledError:
        if _STATE.first == before:
            raise
        raise KeyboardInterrupt from None
    if _STATE.first != before:
        raise KeyboardInterrupt  # the work ended by itself just then; what comes after it is not to begin
    return done


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _STATE.first is None:
        _STATE.first = now
        if _STATE.end_loop is None:
            raise KeyboardInterrupt
        _STATE.end_loop()
    elif now - _STATE.first > _DEAF_S:
        os.write(sys.stderr.fileno(), _STATE.last_words.encode(errors="replace"))
        os._exit(4)  # every finished call is in the journal, and nothing that is still open can be trusted to close


def _terminate(number: int, frame: FrameType | None) -> None:
    """End a scheduler's SIGTERM as gently as Ctrl-C: whoever handles that now, a server's loop say, handles this, too."""
    signal.raise_signal(signal.SIGINT)
