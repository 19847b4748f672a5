"""The queue in front of a server: order, weight, cancelling, and turns that come with time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pop_selfplay.models.scheduler import Limits, Places, Priority, Scheduler
from pop_selfplay.records import Role

Hold = Callable[[str, Priority, int], Coroutine[Any, Any, None]]


def play(max_in_flight: int, script: Callable[[Scheduler, Hold, list[str]], Awaitable[None]]) -> list[str]:
    """Return the names in the order in which their turns came. A turn ends when its task is cancelled or gives way."""
    order: list[str] = []

    async def run() -> None:
        queue = Scheduler(Limits(max_in_flight))

        async def hold(name: str, priority: Priority, weight: int = 1) -> None:
            async with queue.turn(priority, weight, 0):
                order.append(name)
                await asyncio.sleep(0)

        await script(queue, hold, order)
        assert queue.load == 0

    asyncio.run(run())
    return order


def test_a_smaller_priority_goes_first_and_equals_go_as_they_came() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        names = [("first", (1, 9)), ("c", (1, 3)), ("a", (1, 1)), ("b", (1, 2)), ("a2", (1, 1)), ("proposer", (0, 8))]
        await asyncio.gather(*(hold(name, priority, 1) for name, priority in names))

    assert play(1, script) == ["first", "proposer", "a", "a2", "b", "c"]


def test_an_episode_keeps_the_place_at_which_it_first_asked_and_proposers_go_before_all() -> None:
    places = Places(remembered=3)
    first, second = places.priority("one", Role.SOLVER), places.priority("two", Role.SOLVER)
    assert places.priority("three", Role.PROPOSER) < first < second < places.priority("", Role.JUDGE)
    assert places.priority("one", Role.JUDGE) == first
    places.priority("four", Role.SOLVER)
    assert places.priority("one", Role.JUDGE) == first, "what is still used is not forgotten"
    assert places.priority("two", Role.JUDGE) > second


def test_a_heavy_head_is_not_overtaken_by_light_ones_behind_it() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        await asyncio.gather(hold("light", (1, 0), 2), hold("heavy", (1, 1), 4), hold("behind", (1, 2), 1))

    assert play(4, script) == ["light", "heavy", "behind"]


def test_a_call_heavier_than_the_limit_goes_alone() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        await asyncio.gather(hold("light", (1, 0), 1), hold("heavy", (1, 1), 9), hold("next", (1, 2), 1))

    assert play(4, script) == ["light", "heavy", "next"]


def test_whoever_is_cancelled_leaves_its_place_to_the_next() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        holder, waiting, last = (asyncio.create_task(hold(name, (1, n), 1)) for n, name in enumerate(("holder", "no", "last")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(holder, waiting, last, return_exceptions=True)

    assert play(1, script) == ["holder", "last"]


def test_whoever_is_cancelled_as_its_turn_comes_gives_it_back() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        async with queue.turn((1, 0), 1, 0):
            waiting = asyncio.create_task(hold("no", (1, 1), 1))
            await asyncio.sleep(0)
        # Its turn has come, but it did not run yet.
        assert queue.limits.in_flight == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await hold("after", (1, 2), 1)

    assert play(1, script) == ["after"]


def test_a_call_that_is_tried_again_goes_before_all_that_were_never_sent() -> None:
    async def script(queue: Scheduler, hold: Hold, order: list[str]) -> None:
        async with queue.turn((1, 5), 1, 0) as grant:
            others = [asyncio.create_task(hold(f"new {n}", (0, n), 1)) for n in range(2)]
            await asyncio.sleep(0)
            await queue.again(grant)
            order.append("again")
        await asyncio.gather(*others)

    assert play(1, script) == ["again", "new 0", "new 1"]


def test_turns_that_only_time_can_bring_come_with_time() -> None:
    now = [0.0]

    async def run() -> list[float]:
        queue = Scheduler(Limits(9, requests_per_minute=1, clock=lambda: now[0]))
        sent: list[float] = []

        async def one(n: int) -> None:
            async with queue.turn((1, n), 1, 0):
                sent.append(now[0])

        tasks = [asyncio.create_task(one(n)) for n in range(3)]
        for seconds in (0, 59, 1, 60):
            now[0] += seconds
            queue.dispatch()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        queue.close()
        return sent

    assert asyncio.run(run()) == [0, 60, 120]
