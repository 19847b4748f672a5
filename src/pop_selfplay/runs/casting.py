"""Casting: role → model. Who plays the proposer, the solver, the rubric writer and the judge, and under which names.

The policy of round k is the model trained in round k−1; the policy of round 1 is the one in the config. A teacher stands in for
the policy in its role. Opened, a casting is a `Cast`: role → open model, which is what every stage asks (stages/calls.py).

Whoever wants a run's models without its run, as the audit and the judge of an online training do, takes the casting of the
session and changes what is different: `session.casting.copy(journal=…)`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pop_selfplay.config import (
    EndpointModel,
    LocalModel,
    ModelConfig,
    Prices,
    RunConfig,
    VllmModel,
    capacity_of,
    prices_of,
)
from pop_selfplay.corpus import read_benchmarks
from pop_selfplay.domains import Domain
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.models import open_model
from pop_selfplay.models.base import ChatModel
from pop_selfplay.models.chat_template import template_knows
from pop_selfplay.models.identity import settings_name
from pop_selfplay.models.metered import Meter, MeteredModel
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.records import Role
from pop_selfplay.runs.accounting import Account
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.reuse import open_earlier
from pop_selfplay.tasks import run_to_end
from pop_selfplay.text.overlap import BenchmarkIndex

T = TypeVar("T")

SECOND_JUDGE: Final = "train/second_judge/"
"""Where the calls of a second judge of online RL lie, before the id of their problem; the judge's own are under "train/"."""


class Player(NamedTuple):
    """Who plays a role: the model, the name its calls are stored under, and the round whose policy it is (None: a teacher)."""

    model: ModelConfig
    name: str
    policy: int | None


@dataclass(frozen=True)
class Casting:
    """Role → model for the run in `directory`: its calls go into `journal`, by the prompts of `domain`."""

    directory: RunDirectory
    journal: Journal
    domain: Domain
    observer: Observer = field(default_factory=Unwatched)

    @property
    def config(self) -> RunConfig:
        return self.directory.config

    @cached_property
    def account(self) -> Account:
        """What the calls in the journal cost by the prices of who plays."""
        second = getattr(self.config.training, "second_judge", None)
        apart = {} if second is None else {SECOND_JUDGE: prices_of(second)}
        return Account(self.journal, self.config.budget, self.prices, apart)

    @cached_property
    def benchmarks(self) -> BenchmarkIndex:
        """What no problem may repeat."""
        return read_benchmarks(self.config.filter.benchmarks)

    def copy(
        self, *, config: RunConfig | None = None, journal: Journal | None = None, observer: Observer | None = None
    ) -> "Casting":
        """Return a casting of the same run that differs in what is given: it keeps an account of its own."""
        directory = self.directory if config is None else RunDirectory(self.directory.path, config)
        return Casting(directory, journal or self.journal, self.domain, observer or self.observer)

    def policy(self, round_: int) -> ModelConfig:
        """Return the model that plays in `round_`; round `rounds + 1` is the finished model."""
        start = self.config.model
        if round_ == 1:
            return start
        path = str(self.directory.model_path(round_ - 1))
        if isinstance(start, LocalModel | VllmModel):
            return start.changed({"path": path})
        if isinstance(start, EndpointModel) and template_knows(Path(path), start.thinking):
            return LocalModel(path=path, thinking=start.thinking)
        return LocalModel(path=path)  # a server leaves aside what its template has no switch for; so is it here

    def policies(self, round_: int) -> dict[Role, int]:
        """Return role → the round whose policy plays it in `round_`: this one's, or the first one's where it is frozen."""
        return {role: 1 if role in self.config.frozen_roles else round_ for role in Role}

    def players(
        self,
        policies: Mapping[Role, int],
        *,
        measured: Role | None = None,
        teachers: Mapping[Role, ModelConfig] | None = None,
    ) -> dict[Role, Player]:
        """Return who plays each role: the policy of the round that `policies` says, or a teacher.

        A teacher, of the config unless given, stands in for its role, but never for the `measured` one: what is measured is the
        policy.
        """
        standing_in = self.config.teachers if teachers is None else teachers
        players = {}
        for role, round_ in policies.items():
            teacher = None if role == measured else standing_in.get(role)
            model = teacher or self.policy(round_)
            players[role] = Player(model, self.name_of(model, round_), round_ if teacher is None else None)
        return players

    def name_of(self, model: ModelConfig, round_: int) -> str:
        """Return the name under which a model's calls are stored: a stored call counts only for the same name.

        A model that this run trained is named after the run, wherever its directory moves, and no other run has it. Any other
        is named after the settings that decide what it writes, so that a fork to another server keeps its calls.
        """
        if round_ > 1 and model == self.policy(round_):
            return f"policy-{round_}-{self.journal.run_id}"
        return settings_name(model)

    def prices(self, round_: int, role: Role) -> Prices | None:
        """Return what the tokens of a role cost in a round (0: the measurement), None where that is not known."""
        measured = round_ == 0 and role is Role.SOLVER
        teacher = None if measured else self.config.teachers.get(role)
        return prices_of(teacher or self.policy(self.policies(max(1, round_))[role]))

    @asynccontextmanager
    async def open(
        self,
        policies: Mapping[Role, int],
        *,
        measured: Role | None = None,
        teachers: Mapping[Role, ModelConfig] | None = None,
        meter: Meter | None = None,
    ) -> AsyncIterator[Cast]:
        """Yield a cast of `players` with its models open.

        Models are opened once each, however many roles they play, and closed. Casts that are open at once need one `meter`, or
        each would count only its own calls against the budget. Raises BudgetSpent, and whatever opening a model raises.
        """
        players = self.players(policies, measured=measured, teachers=teachers)
        meter = meter or self.account.meter()
        meter.check()
        async with self.open_models(players) as models:
            with self.cast(players, models, meter) as cast:
                yield cast

    @asynccontextmanager
    async def open_models(self, players: Mapping[Role, Player]) -> AsyncIterator[dict[str, ChatModel]]:
        """Yield the models of `players` by name, open once each, and close them."""
        models: dict[str, ChatModel] = {}
        async with AsyncExitStack() as opened:  # closes every model, also when closing another one fails
            for player in players.values():
                if player.name not in models:
                    notice, folder = self.observer.notice, self.directory.servers_path
                    models[player.name] = open_model(player.model, name=player.name, notice=notice, folder=folder)
                    opened.push_async_callback(models[player.name].close)
            yield models

    @contextmanager
    def cast(self, players: Mapping[Role, Player], models: Mapping[str, ChatModel], meter: Meter) -> Iterator[Cast]:
        """Yield a cast of `players` whose `models` are open, and paid for by `meter`."""
        metered = {p.name: MeteredModel(models[p.name], meter, prices_of(p.model)) for p in players.values()}
        by_role: dict[Role, ChatModel] = {role: metered[player.name] for role, player in players.items()}
        with open_earlier(self.config.synthesis.reuse, self.journal, self.config.rounds) as earlier:
            shared = (self.config.synthesis, self.journal, self.config.seed, earlier, self.benchmarks)
            capacity = max((capacity_of(player.model) for player in players.values()), default=0)
            yield Cast(by_role, self.domain, *shared, capacity=capacity)

    def play(self, policies: Mapping[Role, int], work: Callable[[Cast], Awaitable[T]], *, measured: Role | None = None) -> T:
        """Run `work` with the models open, as `open` says, and return what it returns. The observer sees it as it goes."""

        async def opened() -> T:
            async with self.open(policies, measured=measured) as cast:
                return await self._watched(work(cast))

        return run_to_end(opened())

    async def _watched(self, work: Awaitable[T]) -> T:
        async def tick() -> None:
            while True:
                self.refresh()
                self.account.note_seconds()
                await asyncio.sleep(0.25)

        ticker = asyncio.create_task(tick())
        try:
            return await work
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker  # raises what it died of
            self.refresh()

    def refresh(self) -> None:
        """Show whoever watches what the journal counts now."""
        tally = self.journal.tally
        self.observer.refresh(tally, self.account.money(tally, within_s=10))
