"""A loop in a thread: opened once, in that thread; errors reach the caller; closing leaves nothing behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pop_selfplay.rewards.rubric_reward import Bridge


class Opened:
    """Counts how often it is entered and left, and in which thread."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.threads: list[str] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self.threads.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        yield "judge"
        self.threads.append(f"left in {threading.current_thread().name}")


async def shout(inside: str) -> str:
    return inside.upper()


def test_what_is_opened_lives_in_the_thread_from_the_first_work_to_the_end() -> None:
    opened = Opened()
    bridge = Bridge(opened, name="judge thread")
    assert opened.threads == []
    assert [bridge.run(shout), bridge.run(shout)] == ["JUDGE", "JUDGE"]
    bridge.close()
    assert opened.threads == ["judge thread", "left in judge thread"]
    assert "judge thread" not in {thread.name for thread in threading.enumerate()}


def test_it_can_be_called_where_a_loop_is_running() -> None:
    bridge = Bridge(Opened(), name="judge thread")

    async def notebook() -> tuple[str, str]:
        return bridge.run(shout), await asyncio.wrap_future(bridge.submit(shout))

    assert asyncio.run(notebook()) == ("JUDGE", "JUDGE")
    bridge.close()


def test_an_error_of_opening_reaches_every_caller() -> None:
    bridge = Bridge(Opened(ValueError("no weights")), name="judge thread")
    for _ in range(2):
        with pytest.raises(ValueError, match="no weights"):
            bridge.run(shout)
    bridge.close()


def test_closing_ends_work_that_is_going_on() -> None:
    bridge = Bridge(Opened(), name="judge thread")
    begun = threading.Event()

    async def forever(inside: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    future = bridge.submit(forever)
    assert begun.wait(10)
    bridge.close()
    assert future.cancelled()


def test_closing_twice_or_before_anything_is_fine_and_work_after_it_is_not() -> None:
    bridge = Bridge(Opened(), name="judge thread")
    bridge.close()
    bridge.close()
    with pytest.raises(RuntimeError, match="make a new reward"):
        bridge.run(shout)


def test_a_loop_that_hands_over_work_goes_on_while_the_judge_opens() -> None:
    may_open = threading.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[str]:
        assert may_open.wait(10), "nobody went on"
        yield "judge"

    bridge = Bridge(slow, name="judge thread")

    async def notebook() -> str:
        future = asyncio.wrap_future(bridge.submit(shout))
        may_open.set()
        return await future

    assert asyncio.run(notebook()) == "JUDGE"
    bridge.close()


def test_work_handed_over_at_once_finds_one_judge() -> None:
    opened = Opened()
    bridge = Bridge(opened, name="judge thread")
    assert [future.result() for future in [bridge.submit(shout) for _ in range(5)]] == ["JUDGE"] * 5
    bridge.close()
    assert opened.threads == ["judge thread", "left in judge thread"]
