import asyncio
import dataclasses
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
        meter.pay(Role.SOLVER, Completion("", "stop", 1, 0), None)
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
    meter.pay(Role.SOLVER, Completion("", "stop", 100, 10, 40), PRICES)
    spent = meter.spent()
    assert spent is None if limit is None else limit in str(spent)


class Steady(Slow):
    """A model that takes a turn of the event loop, and 110 tokens, for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.most_running = 0

    async def complete(self, request: ChatRequest) -> Completion:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return Completion("ok", "stop", 100, 10, 40)


async def ask_at_once(model: MeteredModel, calls: int, request: ChatRequest = REQUEST) -> int:
    """Make `calls` calls at once and return how many of them the budget refused."""
    outcomes = await asyncio.gather(*(model.complete(request) for _ in range(calls)), return_exceptions=True)
    assert all(isinstance(outcome, Completion | BudgetSpent) for outcome in outcomes)
    return sum(isinstance(outcome, BudgetSpent) for outcome in outcomes)


@pytest.mark.parametrize("budget", [Budget(tokens=1000), Budget(money=0.0158)], ids=["tokens", "money"])
@pytest.mark.parametrize("max_tokens", [10, 100_000], ids=["short", "perhaps long"])
def test_hundreds_of_calls_at_once_spend_no_more_than_one_above_the_limit(budget: Budget, max_tokens: int) -> None:
    prompt = (Message(role="user", content="Why?" * 100),)
    request = dataclasses.replace(REQUEST, messages=prompt, max_tokens=max_tokens)
    meter = Meter(budget)
    assert asyncio.run(ask_at_once(MeteredModel(Steady(), meter, PRICES), 300, request)) == 290  # 10 go over it
    assert meter.spent() is not None


def test_far_from_its_limit_a_budget_holds_nobody_back() -> None:
    steady = Steady()
    model = MeteredModel(steady, Meter(Budget(tokens=1_000_000, money=100, hours=1)), PRICES)
    assert asyncio.run(ask_at_once(model, 300)) == 0
    assert steady.most_running == 300


def test_calls_that_never_fit_beside_each_other_run_one_by_one_until_the_limit_is_reached() -> None:
    steady, meter = Steady(), Meter(Budget(tokens=440))
    request = dataclasses.replace(REQUEST, max_tokens=100_000)
    assert asyncio.run(ask_at_once(MeteredModel(steady, meter, None), 4, request)) == 0
    assert meter.spent() is not None


def test_a_call_that_fails_is_no_longer_in_flight() -> None:
    class Broken(Slow):
        async def complete(self, request: ChatRequest) -> Completion:
            raise ValueError("broken")

    async def scenario() -> None:
        meter = Meter(Budget(tokens=10), tokens=9)
        with pytest.raises(ValueError, match="broken"):
            await MeteredModel(Broken(), meter, None).complete(REQUEST)
        meter.pay(Role.SOLVER, Completion("", "stop", 1, 0), None)
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
        meter.pay(Role.SOLVER, Completion("c", "stop", 100, 0), None)
        with pytest.raises(BudgetSpent, match="230 of 200"):
            await model.complete_many([REQUEST] * 2)

    asyncio.run(scenario())
