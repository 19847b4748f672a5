"""A worker: it owns the models of one place and plays shards, by the same loop as a run on one machine.

The head (head.py) makes workers as Ray actors, but nothing here knows Ray. A worker keeps a journal for each lease on the disk
of its own machine, never on a shared one, and publishes what is finished as segments (shards.py). What it has not published
when it dies is played again, by somebody else; what it leaves on the disk, the next worker of the run on that machine removes.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

from pop_selfplay.config import Budget, EndpointModel, ModelConfig, RayRunner, RunConfig
from pop_selfplay.domains import Domain
from pop_selfplay.episode import ToPlay, play_all
from pop_selfplay.errors import PopError
from pop_selfplay.journal import Journal, RunDirectory, Tally
from pop_selfplay.journal.files import is_locked, take_lock
from pop_selfplay.journal.notes import SHARD, PartOfRun
from pop_selfplay.journal.schema import Played
from pop_selfplay.models.base import ChatModel
from pop_selfplay.models.metered import Meter
from pop_selfplay.observer import Unwatched
from pop_selfplay.records import Document, Role, Shard
from pop_selfplay.runs.casting import Casting, Player
from pop_selfplay.scale.shards import Storage, counted, patiently
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.refusals import ANSWERED

T = TypeVar("T")

STOPPED: Final = "stopped"
_LOCK: Final = "lock"
_BROKEN: Final = "broken/"
NOTES: Final = ("refusal/", _BROKEN)
"""Notes of a worker's journal that belong to the run."""


class Job(NamedTuple):
    """What every worker of a round is told. `model` is where the storage has the model of the round before, "" for none."""

    config: RunConfig
    domain: Domain
    run_id: str
    round: int
    storage: str
    model: str
    folder: str | None
    number: int


class Known(NamedTuple):
    """What the run knows about the episodes of a lease: their documents, the calls that were already made for them, and those
    that it inherited; the notes of calls that no server can answer; and which roles' models have ever answered."""

    documents: tuple[Document, ...]
    calls: tuple[Played, ...]
    inherited: tuple[tuple[Any, ...], ...]
    broken: Mapping[str, str]
    answered: frozenset[Role]


def known_of(journal: Journal, round_: int, episodes: Sequence[ToPlay]) -> Known:
    """Return what the journal of the run knows about these episodes."""
    made = (Played(one.id, round_, "", "", "", journal.calls_of(one.id)) for one in episodes)
    return Known(
        tuple(journal.document(round_, id_) for id_ in dict.fromkeys(one.document_id for one in episodes)),
        tuple(one for one in made if one.calls),
        tuple(row for one in episodes for row in journal.inherited(one.id)),
        journal.noted_under(_BROKEN),
        frozenset(Role(role) for (_, role, _), count in journal.tally.calls.items() if count),
    )


class Lease(NamedTuple):
    """A shard to be played: its unfinished episodes, those of them that were refused before, and what is known about them.

    `budget` is what it may spend, `segments` how many were published about the shard before.
    """

    number: int
    shard: Shard
    episodes: tuple[ToPlay, ...]
    refused_before: frozenset[str]
    known: Known
    budget: Budget
    segments: int


class Ended(NamedTuple):
    """How a lease ended: `why` is "" where all is played, STOPPED, or the name of an error; what it published, and notes."""

    why: str = ""
    words: str = ""
    segments: tuple[str, ...] = ()
    notes: Mapping[str, str] = {}


class Progress(NamedTuple):
    """What a worker has published of the leases that it has now, what it has not yet, and what the user should know."""

    segments: tuple[str, ...]
    unpublished: Tally
    notices: tuple[str, ...]


class _Notices(Unwatched):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def notice(self, text: str) -> None:
        self.heard.append(text)


class Worker:
    """Plays leases. Its methods run in one event loop, several leases at once."""

    def __init__(self, job: Job) -> None:
        runner = job.config.runner
        assert isinstance(runner, RayRunner)  # nobody else has workers
        self._job, self._runner = job, runner
        self._storage = Storage(job.storage)
        self._folder = Path(tempfile.mkdtemp(prefix=f"pop-worker-{job.run_id}-", dir=job.folder))
        self._lock = _settled(self._folder)
        self._opened = contextlib.AsyncExitStack()
        self._notices = _Notices()
        self._leases: dict[int, _Leased] = {}

    async def ready(self) -> Ended:
        """Open the models, which belong to the worker until it is closed; say what is wrong where that cannot be."""
        job = self._job
        try:
            await self._patiently(self._storage.check, job.run_id)
            directory = RunDirectory(self._folder, config_of(job.config, job.number, self._runner.workers))
            if job.model:
                await self._patiently(self._storage.fetch_model, job.model, directory.model_path(job.round - 1))
            journal = self._opened.enter_context(_journal(self._folder / "worker.db", job.run_id))
            self._casting = Casting(directory, journal, job.domain, self._notices)
            self._players: dict[Role, Player] = self._casting.players(self._casting.policies(job.round))
            self._models: dict[str, ChatModel] = await self._opened.enter_async_context(
                self._casting.open_models(self._players)
            )
        except PopError as error:
            return Ended(type(error).__name__, str(error))
        return Ended()

    async def play(self, lease: Lease) -> Ended:
        """Play a lease to its end and say how it ended; everything that it finished is published then."""
        folder = self._folder / f"lease-{lease.number}"
        folder.mkdir()
        with _journal(folder / "run.db", self._job.run_id) as journal:
            leased = _Leased(lease, journal, self._job.round, self._runner.publish_s, self._publish)
            self._leases[lease.number] = leased
            try:
                with self._casting.copy(journal=journal).cast(self._players, self._models, Meter(lease.budget)) as cast:
                    ended = await leased.play(cast)
            except PopError as error:  # the storage fails
                ended = Ended(type(error).__name__, str(error), tuple(leased.segments))
            finally:
                del self._leases[lease.number]
        shutil.rmtree(folder, ignore_errors=True)
        return ended

    async def _publish(self, lease: Lease, number: int, episodes: list[Played], begun: bool) -> str:
        publish = partial(self._storage.publish, begun=begun)
        return await self._patiently(publish, self._job.round, lease.shard, number, episodes)

    async def _patiently(self, work: Callable[..., T], *arguments: Any) -> T:
        return await patiently(self._runner.patience_s, work, *arguments, notice=self._notices.notice)

    async def progress(self) -> Progress:
        """Return how far the worker is."""
        unpublished, leases = Tally(), self._leases.values()
        for leased in leases:
            unpublished = unpublished.plus(leased.journal.tally.minus(leased.published))
        heard, self._notices.heard = self._notices.heard, []
        return Progress(tuple(name for leased in leases for name in leased.segments), unpublished, tuple(heard))

    async def stop(self) -> None:
        """Let every lease end now; calls in flight are given up."""
        for leased in self._leases.values():
            leased.stop()

    async def close(self) -> None:
        """Close the models and remove what was kept on this machine."""
        await self._opened.aclose()
        self._lock.close()
        shutil.rmtree(self._folder, ignore_errors=True)


Put = Callable[[Lease, int, list[Played], bool], Awaitable[str]]
"""Publishes episodes of a lease as the segment of a number, or the calls of those that were begun, and returns its name."""


class _Leased:
    """One lease in work."""

    def __init__(self, lease: Lease, journal: Journal, round_: int, publish_s: float, put: Put) -> None:
        self.journal, self.segments = journal, list[str]()
        self._lease, self._round, self._publish_s, self._put = lease, round_, publish_s, put
        self._last = 0
        self._playing: asyncio.Task[None] | None = None
        self._stopped = False
        SHARD.write(journal, PartOfRun(lease.shard, (), ""))
        journal.store_documents([*[()] * round_, lease.known.documents], {})
        journal.take_in(lease.known.calls)
        journal.inherit(lease.known.inherited)
        for digest, words in lease.known.broken.items():
            journal.note(_BROKEN + digest, words)
        for role in lease.known.answered:
            journal.note(ANSWERED + role.value, "by the run")
        self.published = journal.tally
        """Counts of what the head knows: the calls of before, and all segments."""

    async def play(self, cast: Cast) -> Ended:
        lease = self._lease
        self._playing = asyncio.create_task(play_all(cast, lease.episodes, self._round, refused_before=lease.refused_before))
        publishing = asyncio.create_task(self._publish_now_and_then())
        why = words = ""
        try:
            await asyncio.wait({self._playing, publishing}, return_when=asyncio.FIRST_COMPLETED)
            if publishing.done():
                self._playing.cancel()
                publishing.result()  # raises what went wrong with the storage
            await self._playing
        except PopError as error:
            why, words = type(error).__name__, str(error)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            why = STOPPED
        finally:
            publishing.cancel()
            self._playing.cancel()
            await asyncio.gather(publishing, self._playing, return_exceptions=True)
        await self._publish(self.journal.played(self._last))
        if why:
            await self._publish(((self._last, one) for one in list(self.journal.begun_episodes())), begun=True)
        notes = {prefix + rest: note for prefix in NOTES for rest, note in self.journal.noted_under(prefix).items()}
        for digest in lease.known.broken:  # the run may have forgotten them since
            notes.pop(_BROKEN + digest, None)
        return Ended(why, words, tuple(self.segments), notes)

    def stop(self) -> None:
        self._stopped = True
        if self._playing is not None:
            self._playing.cancel()

    async def _publish_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._publish_s)
            await self._publish(self.journal.played(self._last))

    async def _publish(self, numbered: Iterable[tuple[int, Played]], *, begun: bool = False) -> None:
        found = list(numbered)
        if not found:
            return
        lease, episodes = self._lease, [episode for _, episode in found]
        number = lease.segments + len(self.segments) + 1
        name = await self._put(lease, number, episodes, begun)
        self._last = found[-1][0]
        self.segments.append(name)
        self.published = self.published.plus(counted(episodes))


def _settled(folder: Path) -> IO[str]:
    """Mark a worker's folder as in use until the handle is closed, and remove those of its run whose workers died here."""
    lock = take_lock(folder / "lock.new")
    (folder / "lock.new").rename(folder / _LOCK)  # nobody sees it unlocked
    for other in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/{_LOCK}"):
        with contextlib.suppress(OSError):  # somebody else removes it
            if not is_locked(other):
                shutil.rmtree(other.parent)
    return lock


def _journal(path: Path, run_id: str) -> Journal:
    journal = Journal.open(path)
    journal.note("run_id", run_id)  # by it, calls of a model that the run trained are told from others
    return journal


def config_of(config: RunConfig, number: int, workers: int) -> RunConfig:
    """Return the config of the `number`-th of `workers` workers, from 0: servers are divided among them, and so are limits."""
    teachers = {role: _share(model, number, workers) for role, model in config.teachers.items()}
    return config.changed({"model": _share(config.model, number, workers), "teachers": teachers})


def _share(model: ModelConfig, number: int, workers: int) -> ModelConfig:
    """Return what one worker has of a model: its own servers, or its part of what a shared one may be asked."""
    if not isinstance(model, EndpointModel):
        return model
    mine = model.urls[number::workers] or [model.urls[number % len(model.urls)]]
    sharing = len(range(number % len(model.urls), workers, len(model.urls))) if len(model.urls) < workers else 1

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, limit // sharing)

    limits = {name: part(getattr(model, name)) for name in ("max_in_flight", "requests_per_minute", "tokens_per_minute")}
    return model.changed({"base_url": None, "base_urls": mine, **limits})
