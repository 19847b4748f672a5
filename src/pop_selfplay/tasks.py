"""Many coroutines at once, structured: `together` is how every room waits for several calls."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from pop_selfplay.errors import PopError

T = TypeVar("T")


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
