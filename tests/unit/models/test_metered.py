import asyncio
from collections.abc import Sequence

import pytest

from pop_selfplay.config import Budget, Prices
from pop_selfplay.errors import BudgetSpent
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.metered import Meter, MeteredModel
from pop_selfplay.records import Message, Role

REQUEST = ChatRequest(Role.SOLVER, (Message(role="user", content="Why?"),), 1.0, 1.0, 10, 0)
PRICES = Prices(prompt=10, cached=1, generated=100)


class Slow:
    """A model that answers when told to: 100 prompt tokens, 40 of them cached, and 10 generated ones a call."""

    name = "slow"

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def complete(self, request: ChatRequest) -> Completion:
        self.begun += 1
        await self.go_on.wait()
        return Completion("ok", "stop", 100, 10, 40)

    async def close(self) -> None:
        pass


def test_cached_prompt_tokens_have_a_price_of_their_own_or_that_of_the_others() -> None:
    assert PRICES.money(100, 40, 10) == pytest.approx((60 * 10 + 40 * 1 + 10 * 100) / 1e6)
    assert Prices(prompt=10, generated=100).money(100, 40, 10) == pytest.approx((100 * 10 + 10 * 100) / 1e6)


def test_when_the_budget_is_spent_calls_in_flight_end_and_no_new_one_begins() -> None:
    async def scenario() -> None:
        slow, meter = Slow(), Meter(Budget(tokens=150))
        model = MeteredModel(slow, meter, PRICES)
        first = [asyncio.create_task(model.complete(REQUEST)) for _ in range(2)]
        await asyncio.sleep(0)
        assert slow.begun == 2
        slow.go_on.set()
        slow.go_on = asyncio.Event()  # a third call would wait for ever
        await first[0]
        assert meter.spent() is not None  # 220 tokens
        with pytest.raises(BudgetSpent, match=r"220 of 150 tokens"):
            await model.complete(REQUEST)
        assert slow.begun == 2
        assert [(await task).text for task in first] == ["ok", "ok"]

    asyncio.run(scenario())


def test_a_call_that_meets_the_limit_waits_for_those_in_flight_before_it_stops_the_run() -> None:
    async def scenario() -> None:
        slow, meter = Slow(), Meter(Budget(tokens=150), tokens=149)
        model = MeteredModel(slow, meter, None)
        in_flight = asyncio.create_task(model.complete(REQUEST))
        await asyncio.sleep(0)
        meter.pay(Completion("", "stop", 1, 0), None)
        refused = asyncio.create_task(model.complete(REQUEST))
        await asyncio.sleep(0.01)
        assert not refused.done()
        slow.go_on.set()
        assert (await in_flight).text == "ok"
        with pytest.raises(BudgetSpent):
            await refused

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        (Budget(tokens=110), "budget.tokens"),
        (Budget(money=0.0016), "budget.money"),
        (Budget(hours=2), "budget.hours"),
        (Budget(tokens=111, money=0.01, hours=3), None),
    ],
)
def test_each_limit_counts_what_earlier_sessions_spent(budget: Budget, limit: str | None) -> None:
    meter = Meter(budget, tokens=0, money=0.0, hours=2.0)
    meter.pay(Completion("", "stop", 100, 10, 40), PRICES)
    spent = meter.spent()
    assert spent is None if limit is None else limit in str(spent)


def test_a_call_that_fails_is_no_longer_in_flight() -> None:
    class Broken(Slow):
        async def complete(self, request: ChatRequest) -> Completion:
            raise ValueError("broken")

    async def scenario() -> None:
        meter = Meter(Budget(tokens=10), tokens=9)
        with pytest.raises(ValueError, match="broken"):
            await MeteredModel(Broken(), meter, None).complete(REQUEST)
        meter.pay(Completion("", "stop", 1, 0), None)
        with pytest.raises(BudgetSpent):
            await asyncio.wait_for(MeteredModel(Slow(), meter, None).complete(REQUEST), 5)

    asyncio.run(scenario())


class Several(Slow):
    """A model that answers two requests in one call, and no other number."""

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        if len(requests) != 2:
            return None
        return [Completion("a", "stop", 100, 10, 40), Completion("b", "stop", 0, 20)]


def test_several_answers_in_one_call_are_paid_for_each_and_none_where_the_model_takes_one_at_a_time() -> None:
    async def scenario() -> None:
        meter = Meter(Budget(tokens=200))
        model = MeteredModel(Several(), meter, PRICES)
        assert await model.complete_many([REQUEST] * 3) is None and meter.money == 0
        found = await model.complete_many([REQUEST] * 2)
        assert found is not None and [completion.text for completion in found] == ["a", "b"]
        assert meter.money == pytest.approx(PRICES.money(100, 40, 30))
        assert await MeteredModel(Slow(), meter, PRICES).complete_many([REQUEST] * 2) is None
        meter.pay(Completion("c", "stop", 100, 0), None)
        with pytest.raises(BudgetSpent, match="230 of 200"):
            await model.complete_many([REQUEST] * 2)

    asyncio.run(scenario())
