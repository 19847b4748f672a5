"""What every phase of a run needs: the directory, the open journal, the domain, who watches, and how models are opened.

The policy of round k is the model trained in round k−1; the policy of round 1 is the one in the config. `open_session` is for
the one process that works on a run, `watch_session` for whoever looks at it, `read_session` for whoever wants what is left.
"""

import asyncio
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pop_selfplay.config import (
    OPERATIONAL,
    EndpointModel,
    LocalModel,
    ModelConfig,
    PocketModel,
    Prices,
    RunConfig,
    SimulatedModel,
    VllmModel,
    capacity_of,
    prices_of,
)
from pop_selfplay.corpus import read_benchmarks
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.domains.requirements import check_domain
from pop_selfplay.domains.requirements import prompts_needed as prompts_needed
from pop_selfplay.errors import ConfigError, JournalDamaged, UsageError
from pop_selfplay.journal import Journal, RunDirectory, Tally
from pop_selfplay.journal.directory import write_atomically
from pop_selfplay.journal.fork import finish_fork, fork
from pop_selfplay.journal.salvage import salvage
from pop_selfplay.models import POCKET_WEIGHTS, open_model
from pop_selfplay.models.base import ChatModel
from pop_selfplay.models.metered import Meter, MeteredModel
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.records import Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.reuse import open_earlier
from pop_selfplay.text.overlap import BenchmarkIndex

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)


class Usage(NamedTuple):
    """What one role used in one round: tokens, `cached` being a part of `prompt`, and money."""

    round: int
    role: str
    prompt: int
    cached: int
    generated: int
    money: float


class Player(NamedTuple):
    """Who plays a role: the model, the name its calls are stored under, and the round whose policy it is (None: a teacher)."""

    model: ModelConfig
    name: str
    policy: int | None


@dataclass
class Session:
    """One process's work on one run directory. Make it with `open_session`."""

    directory: RunDirectory
    journal: Journal
    domain: Domain
    observer: Observer = field(default_factory=Unwatched)
    _note_seconds: Callable[[], None] | None = field(default=None, init=False, repr=False)

    @property
    def config(self) -> RunConfig:
        return self.directory.config

    @cached_property
    def benchmarks(self) -> BenchmarkIndex:
        """What no problem may repeat."""
        return read_benchmarks(self.config.filter.benchmarks)

    def policy(self, round_: int) -> ModelConfig:
        """Return the model that plays in `round_`; round `rounds + 1` is the finished model."""
        start = self.config.model
        if round_ == 1:
            return start
        path = str(self.directory.model_path(round_ - 1))
        return start.model_copy(update={"path": path}) if isinstance(start, (LocalModel, VllmModel)) else LocalModel(path=path)

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
        """Return who plays each role: the policy of the round that `policies` says, or a teacher, as `cast` explains."""
        standing_in = self.config.teachers if teachers is None else teachers
        players = {}
        for role, round_ in policies.items():
            teacher = None if role == measured else standing_in.get(role)
            model = teacher or self.policy(round_)
            players[role] = Player(model, self._name_of(model, round_), round_ if teacher is None else None)
        return players

    def play(self, policies: Mapping[Role, int], work: Callable[[Cast], Awaitable[T]], *, measured: Role | None = None) -> T:
        """Run `work` with the models open, as `cast` says, and return what it returns."""

        async def opened() -> T:
            async with self.cast(policies, measured=measured) as cast:
                return await self._watched(work(cast))

        return asyncio.run(opened())

    @contextlib.asynccontextmanager
    async def cast(
        self,
        policies: Mapping[Role, int],
        *,
        measured: Role | None = None,
        teachers: Mapping[Role, ModelConfig] | None = None,
        meter: Meter | None = None,
    ) -> AsyncIterator[Cast]:
        """Yield a cast with its models open: `policies` says the policy of which round plays each role.

        A teacher, of the config unless given, stands in for its role, but never for the `measured` one: what is measured is the
        policy. Models are opened once each, however many roles they play, and closed. Casts that are open at once need one
        `meter`, or each would count only its own calls against the budget.
        """
        players = self.players(policies, measured=measured, teachers=teachers)
        models: dict[str, ChatModel] = {}
        meter = meter or self.meter()
        meter.check()
        async with contextlib.AsyncExitStack() as opened:  # closes every model, also when closing another one fails
            for player in players.values():
                if player.name not in models:
                    notice, folder = self.observer.notice, self.directory.servers_path
                    model = open_model(player.model, name=player.name, notice=notice, folder=folder)
                    opened.push_async_callback(model.close)
                    models[player.name] = MeteredModel(model, meter, prices_of(player.model))
            by_role = {role: models[player.name] for role, player in players.items()}
            with open_earlier(self.config.synthesis.reuse, self.journal, self.config.rounds) as earlier:
                shared = (self.config.synthesis, self.journal, self.config.seed, earlier, self.benchmarks)
                capacity = max(capacity_of(player.model) for player in players.values())
                yield Cast(by_role, self.domain, *shared, capacity=capacity)

    def _name_of(self, player: ModelConfig, round_: int) -> str:
        """Return the name under which a model's calls are stored: a stored call counts only for the same name.

        A model that this run trained is named after the run, wherever its directory moves, and no other run has it. Any other
        is named after the settings that decide what it writes, so that a fork to another server keeps its calls.
        """
        if round_ > 1 and player == self.policy(round_):
            return f"policy-{round_}-{self.journal.run_id}"
        return settings_name(player)

    def meter(self) -> Meter:
        """Return a meter that begins with what the run has spent so far, over all sessions."""
        tally = self.journal.tally
        seconds = sum(float(value) for value in self.journal.noted_under("seconds/").values())
        return Meter(
            self.config.budget,
            tokens=tally.total_tokens("prompt") + tally.total_tokens("generated"),
            money=self.money(tally),
            hours=seconds / 3600,
        )

    def money(self, tally: Tally) -> float:
        """Return what the calls of `tally` cost by the config's prices."""
        return sum(usage.money for usage in self.usage(tally))

    def usage(self, tally: Tally) -> list[Usage]:
        """Return what each role used in each round, and what it cost. 0 where the model that played has no prices.

        The tally does not tell a trained model's answers to held-out problems from the starting model's, so that both count at
        the starting model's prices.
        """
        used = []
        for round_, role, prompt, cached, generated in tally.tokens_by_role():
            prices = self.prices(round_, Role(role))
            money = 0.0 if prices is None else prices.money(prompt, cached, generated)
            used.append(Usage(round_, role, prompt, cached, generated, money))
        return used

    def prices(self, round_: int, role: Role) -> Prices | None:
        """Return what the tokens of a role cost in a round, None where that is not known."""
        measured = round_ == 0 and role is Role.SOLVER
        teacher = None if measured else self.config.teachers.get(role)
        return prices_of(teacher or self.policy(self.policies(max(1, round_))[role]))

    async def _watched(self, work: Awaitable[T]) -> T:
        async def tick() -> None:
            while True:
                self.refresh()
                if self._note_seconds is not None:
                    self._note_seconds()
                await asyncio.sleep(0.25)

        ticker = asyncio.create_task(tick())
        try:
            return await work
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker  # raises what it died of
            self.refresh()

    def refresh(self) -> None:
        """Show whoever watches what the journal counts now."""
        tally = self.journal.tally
        self.observer.refresh(tally, self.money(tally))

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds this takes to the note `seconds/<what>`, over all sessions; a killed one has noted all but the last.

        Raises BudgetSpent, before it begins, when a limit of the budget is reached.
        """
        self.meter().check()
        key, start = f"seconds/{what}", time.monotonic()
        before = float(self.journal.noted(key) or 0.0)

        def note() -> None:
            self.journal.note(key, repr(before + time.monotonic() - start))

        self._note_seconds = note
        try:
            yield
        finally:
            self._note_seconds = None
            note()


def settings_name(model: ModelConfig) -> str:
    """Return a name for the settings that decide what a model writes: the same wherever and however fast it works."""
    settings = model.model_dump(mode="json", exclude=set(OPERATIONAL))
    return f"{model.type}-{derive_seed(json.dumps(settings, sort_keys=True)):016x}"


def weights_of(model: ModelConfig) -> str | None:
    """Return the directory or hub name of a model's weights, None where it has none."""
    match model:
        case LocalModel() | VllmModel():
            return model.path
        case PocketModel():
            return str(POCKET_WEIGHTS)
        case EndpointModel():
            return model.weights
        case SimulatedModel():
            return None


@contextlib.contextmanager
def open_session(
    path: Path, config: RunConfig | None = None, observer: Observer | None = None, *, fork_from: Path | None = None
) -> Iterator[Session]:
    """Open the run directory at `path`, made for `config` when it is new, and hold its lock for the time of the session.

    The domain's prompts are kept in the run directory, so that a run goes on with the ones it began with. With `fork_from`,
    another run directory, a new run inherits the calls of that run. Raises ConfigError when the domain lacks a prompt that the
    run will need, or has changed since the run began; UsageError when the directory is no fork of `fork_from`.
    """
    domain = None if config is None else load_domain(config.domain)
    if config is not None and domain is not None:
        check_domain(config, domain)
    source = None if fork_from is None else RunDirectory.open(fork_from).journal_path
    if fork_from is not None and path.resolve() == fork_from.resolve():
        raise UsageError(f"a fork of {fork_from} needs a run directory of its own: name a new one by --out")
    directory = RunDirectory.open(path) if config is None else RunDirectory.create(path, config)
    with directory, directory.journal() as journal:
        session = Session(directory, journal, _kept_domain(directory, domain), observer or Unwatched())
        if source is not None:
            fork(journal, source)
        finish_fork(journal)
        session.observer.refresh(journal.tally, session.money(journal.tally))
        yield session


@contextlib.contextmanager
def watch_session(path: Path) -> Iterator[Session]:
    """Open the run directory at `path` to read only: on a read-only disk, or while another process may be writing."""
    directory = RunDirectory.open(path)
    with Journal.open_to_read(directory.journal_path) as journal:
        yield Session(directory, journal, _read_domain(directory) or load_domain(directory.config.domain))


def read_session(path: Path, work: Callable[[Session], T]) -> T:
    """Do `work`, which only reads, on the run at `path`; where its journal is damaged, on what can still be read of it.

    What is damaged is found only by reading, so `work` may begin twice. The part that is whole goes into a temporary directory,
    which needs as much room as the journal.
    """
    try:
        with watch_session(path) as session:
            return work(session)
    except JournalDamaged as error:
        _LOG.warning("%s", error)
    directory = RunDirectory.open(path)
    with tempfile.TemporaryDirectory(prefix="pop-salvage-") as folder:
        whole = Path(folder) / "run.db"
        _LOG.warning("%d finished episodes can still be read", salvage(directory.journal_path, whole))
        with Journal.open_to_read(whole) as journal:
            return work(Session(directory, journal, _read_domain(directory) or load_domain(directory.config.domain)))


def _kept_domain(directory: RunDirectory, now: Domain | None) -> Domain:
    kept = _read_domain(directory)
    if kept is None or (now is not None and now != kept and not directory.begun()):
        domain = now or load_domain(directory.config.domain)
        write_atomically(directory.domain_path, domain.model_dump_json(indent=1))
        return domain
    if now is not None and now != kept:
        raise ConfigError(
            f"the prompts of domain {kept.name!r} have changed since the run in {directory.path} began: go on with the old "
            f"ones by `pop run {directory.path}`, or give the changed ones a run directory of their own"
        )
    return kept


def _read_domain(directory: RunDirectory) -> Domain | None:
    if not directory.domain_path.is_file():
        return None
    return Domain.model_validate_json(directory.domain_path.read_text(encoding="utf-8"))
