"""The budget of a run: a meter that all its models share, looked at before every call.

When a limit is reached, no new call is sent. Those in flight end, are paid for and are journalled, and only then does the run
stop. So a run may end above its budget by as much as was in flight.
"""

import asyncio
import time
from collections.abc import Sequence

from pop_selfplay.config import Budget, Prices
from pop_selfplay.errors import BudgetSpent
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, complete_many


class Meter:
    """What a run has spent: tokens (prompt and generated), money and hours. Used from one event loop at a time."""

    def __init__(self, budget: Budget, *, tokens: int = 0, money: float = 0.0, hours: float = 0.0) -> None:
        """Begin with what earlier sessions spent."""
        self._budget = budget
        self._tokens, self._money = tokens, money
        self._began = time.monotonic() - 3600 * hours
        self._in_flight = 0
        self._idle = asyncio.Event()

    @property
    def money(self) -> float:
        return self._money

    def spent(self) -> tuple[str, str] | None:
        """Return the limit that is reached: how far, in words, and the setting; or None."""
        budget, hours = self._budget, (time.monotonic() - self._began) / 3600
        if budget.tokens is not None and self._tokens >= budget.tokens:
            return f"{self._tokens:,} of {budget.tokens:,} tokens", "budget.tokens"
        if budget.money is not None and self._money >= budget.money:
            return f"{self._money:,.2f} of {budget.money:,.2f} money", "budget.money"
        if budget.hours is not None and hours >= budget.hours:
            return f"{hours:,.2f} of {budget.hours:,.2f} hours", "budget.hours"
        return None

    def check(self) -> None:
        """Raise BudgetSpent when a limit is reached."""
        reached = self.spent()
        if reached is not None:
            how_far, limit = reached
            raise BudgetSpent(f"the budget is spent: {how_far} ({limit})", limit)

    async def admit(self, calls: int = 1) -> None:
        """Let a call begin. When a limit is reached, wait until nothing is in flight any more and raise BudgetSpent."""
        if self.spent() is not None:
            while self._in_flight:
                self._idle.clear()
                await self._idle.wait()
            self.check()
        self._in_flight += calls

    def ended(self, calls: int = 1) -> None:
        """Say that a call is over, whether it was answered or not."""
        self._in_flight -= calls
        if not self._in_flight:
            self._idle.set()

    def pay(self, completion: Completion, prices: Prices | None) -> None:
        """Count a completion."""
        self._tokens += completion.prompt_tokens + completion.generated_tokens
        if prices is not None:
            self._money += prices.money(completion.prompt_tokens, completion.cached_tokens, completion.generated_tokens)


class MeteredModel:
    """A ChatModel whose every call is paid for."""

    def __init__(self, model: ChatModel, meter: Meter, prices: Prices | None) -> None:
        self._model, self._meter, self._prices = model, meter, prices

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Raises BudgetSpent, and whatever the model raises."""
        await self._meter.admit()
        try:
            completion = await self._model.complete(request)
            self._meter.pay(completion, self._prices)
        finally:
            self._meter.ended()
        return completion

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer all of `requests` in one call, where the model can. Raises BudgetSpent, and whatever the model raises."""
        await self._meter.admit(len(requests))
        try:
            completions = await complete_many(self._model, requests)
            for completion in completions or ():
                self._meter.pay(completion, self._prices)
        finally:
            self._meter.ended(len(requests))
        return completions

    async def close(self) -> None:
        await self._model.close()
