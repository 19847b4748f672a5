"""The budget of a run: a meter that all its models share, asked before every call.

When a limit is reached, no new call is sent. Those in flight end, are paid for and are journalled, and only then does the run
stop. Near a limit of tokens or money a call begins only when it fits beside those in flight, each taken to cost what its role's
calls cost on average so far (before the first one: its prompt and all of its `max_tokens`); alone it may always begin. So a run
ends above its budget by no more than its calls differ from the average. Time is known only when it has passed: above `hours`
lies what the calls in flight take to end.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pop_selfplay.config import Budget, Prices
from pop_selfplay.errors import BudgetSpent
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, Cost, complete_many, constrains, cost_of, most_cost
from pop_selfplay.records import Role


class Meter:
    """What a run has spent: tokens (prompt and generated), money and hours. Used from one event loop at a time."""

    def __init__(self, budget: Budget, *, tokens: int = 0, money: float = 0.0, hours: float = 0.0) -> None:
        """Begin with what earlier sessions spent."""
        self._budget = budget
        self._spent = Cost(tokens, money)
        self._began = time.monotonic() - 3600 * hours
        self._in_flight: Counter[Role] = Counter()
        self._paid: Counter[Role] = Counter()
        self._each: dict[Role, Cost] = {}
        """What one completion costs: the mean of those paid, before the first one the most that any may."""
        self._line = asyncio.Lock()
        self._ended = asyncio.Event()

    @property
    def money(self) -> float:
        return self._spent.money

    def spent(self) -> tuple[str, str] | None:
        """Return the limit that is reached: how far, in words, and the setting; or None."""
        budget, (tokens, money), hours = self._budget, self._spent, (time.monotonic() - self._began) / 3600
        if budget.tokens is not None and tokens >= budget.tokens:
            return f"{tokens:,.0f} of {budget.tokens:,} tokens", "budget.tokens"
        if budget.money is not None and money >= budget.money:
            return f"{money:,.2f} of {budget.money:,.2f} money", "budget.money"
        if budget.hours is not None and hours >= budget.hours:
            return f"{hours:,.2f} of {budget.hours:,.2f} hours", "budget.hours"
        return None

    def check(self) -> None:
        """Raise BudgetSpent when a limit is reached."""
        reached = self.spent()
        if reached is not None:
            how_far, limit = reached
            raise BudgetSpent(f"the budget is spent: {how_far} ({limit})", limit)

    @asynccontextmanager
    async def admitted(self, requests: Sequence[ChatRequest], prices: Prices | None) -> AsyncIterator[None]:
        """Wait until `requests` of one role, answered in one call, may begin, and hold what they are expected to cost.

        When a limit is reached, wait until nothing is in flight any more and raise BudgetSpent.
        """
        role, number = requests[0].role, len(requests)
        async with self._line:  # one after the other, so that nobody who costs little overtakes for ever
            if not self._paid[role]:
                self._each[role] = max(self._each.get(role, Cost()), most_cost(requests[0], prices))
            while self._in_flight.total() and not self._fits(role, number):
                self._ended.clear()
                await self._ended.wait()
            self.check()
            self._in_flight[role] += number
        try:
            yield
        finally:
            self._in_flight[role] -= number
            self._ended.set()

    def pay(self, role: Role, completion: Completion, prices: Prices | None) -> None:
        """Count a completion."""
        cost = cost_of(completion.prompt_tokens, completion.cached_tokens, completion.generated_tokens, prices)
        self._spent = self._spent.plus(cost)
        before, mean = self._paid[role], self._each.get(role, cost)
        self._paid[role] += 1
        self._each[role] = Cost().plus(mean, before / (before + 1)).plus(cost, 1 / (before + 1))

    def _fits(self, role: Role, number: int) -> bool:
        """Tell whether `number` completions of `role` can be paid beside those in flight without going over a limit."""
        most = self._spent
        for one, count in (self._in_flight + Counter({role: number})).items():
            most = most.plus(self._each[one], count)
        budget = self._budget
        within = most.tokens <= (budget.tokens or most.tokens) and most.money <= (budget.money or most.money)
        return within and self.spent() is None


class MeteredModel:
    """A ChatModel whose every call is paid for."""

    def __init__(self, model: ChatModel, meter: Meter, prices: Prices | None) -> None:
        self._model, self._meter, self._prices = model, meter, prices

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Raises BudgetSpent, and whatever the model raises."""
        async with self._meter.admitted([request], self._prices):
            completion = await self._model.complete(request)
            self._meter.pay(request.role, completion, self._prices)
        return completion

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer all of `requests` in one call, where the model can. Raises BudgetSpent, and whatever the model raises."""
        async with self._meter.admitted(requests, self._prices):
            completions = await complete_many(self._model, requests)
            for request, completion in zip(requests, completions or (), strict=False):
                self._meter.pay(request.role, completion, self._prices)
        return completions

    async def constrains(self, role: Role) -> bool:
        """Tell whether the model decodes by a form. Trying it out takes a few tokens, which are not counted."""
        return await constrains(self._model, role)

    async def close(self) -> None:
        await self._model.close()
