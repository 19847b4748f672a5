"""The head: plays the episodes of a round on a Ray cluster, and puts what the workers publish into the run's own journal.

    lease      a shard goes to a worker that has room for it, with the calls that were already made for its episodes
    look       every worker is asked how far it is; what it has published is taken into the journal
    return     a lease ends: played, out of its part of the budget, or with an error
    loss       a worker died, or said nothing for `lease_s`: its shards go to others, without what they find published

So the run directory is that of a run on one machine at any time, for status, budget, pairs and training, and the head keeps no
more than which episode belongs to which shard. Ray itself restarts nothing: a retry by Ray would play a shard as it was leased,
not as it was published. A worker that dies is replaced by a new one, whose first call waits until the cluster has room.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from pop_selfplay import errors
from pop_selfplay.config import Budget, RayRunner
from pop_selfplay.episode import ToPlay
from pop_selfplay.errors import PopError, Stopped
from pop_selfplay.journal import Tally
from pop_selfplay.records import Shard
from pop_selfplay.runs.session import Session
from pop_selfplay.scale import cluster
from pop_selfplay.scale.shards import Storage, note_of, patiently
from pop_selfplay.scale.worker import STOPPED, Ended, Job, Lease, Progress, Worker, known_of
from pop_selfplay.stages.refusals import forget_broken
from pop_selfplay.tasks import run_to_end

T = TypeVar("T")

_AT_ONCE: Final = 2
"""Leases of one worker: the next shard begins while the last episodes of one end, so that its server is never idle."""
_LOOK_S: Final = 0.5
_ROOM_S: Final = 30.0
_FAREWELL_S: Final = 60.0
_DEATHS: Final = 3
"""So many deaths of each worker, with nothing finished in between, end the run."""
_LATER: Final = {"ModelUnavailable", "ModelRefused", "JournalStopped"}
"""Errors that may be a worker's own, so that another one may do better."""


def storage_of(session: Session) -> str:
    """Return where the workers of the run publish."""
    runner = session.config.runner
    assert isinstance(runner, RayRunner)  # nobody else has workers
    place = runner.storage or str(session.directory.path / "segments")
    return place if "://" in place else str(Path(place).absolute())


class _Published:
    """What the workers of a run have published, and the journal that it is taken into."""

    def __init__(self, session: Session, round_: int) -> None:
        runner = session.config.runner
        assert isinstance(runner, RayRunner)  # nobody else has workers
        self.storage, self._journal, self._round = Storage(storage_of(session)), session.journal, round_
        self._patience_s, self._notice = runner.patience_s, session.observer.notice

    async def take_in(self, names: Sequence[str]) -> int:
        """Take segments into the journal that it does not have yet, and return how many."""
        new = [name for name in dict.fromkeys(names) if self._journal.noted(note_of(name)) is None]
        for name in new:
            self._journal.take_in(await self.patiently(self.storage.read, name), note_of(name))
        return len(new)

    async def take_in_all(self, shard: Shard | None = None) -> tuple[int, int]:
        """Do as `take_in` with all of the round, or of one shard of it; return how many are published, and were new."""
        names = await self.patiently(self.storage.published, self._round, shard)
        return len(names), await self.take_in(names)

    async def patiently(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something at the storage, and wait while it does not answer."""
        return await patiently(self._patience_s, work, *arguments, notice=self._notice)


def take_in_published(session: Session, round_: int) -> None:
    """Take in what workers of an earlier session published and nobody took in."""
    published = _Published(session, round_)
    published.storage.claim(session.journal.run_id)
    run_to_end(published.take_in_all())


def play_on_ray(session: Session, todo: Sequence[ToPlay], round_: int, refused_before: frozenset[str]) -> None:
    """Play `todo`, unfinished episodes of the round, on the cluster of the config.

    Raises UsageError where there is no Ray, Stopped when workers do nothing but die, and what playing them here would raise.
    """
    with cluster(session) as (ray, folder):
        run_to_end(_Head(session, ray, folder, round_, refused_before).play(todo))


@dataclass(eq=False)
class _Hired:
    """A worker, as the head knows it."""

    number: int
    actor: Any
    ready: bool = False
    leases: set[int] = field(default_factory=set)
    looking_since: float | None = None
    unpublished: Tally = field(default_factory=Tally)


class _Head:
    """One round on a cluster."""

    def __init__(
        self, session: Session, ray: ModuleType, folder: str | None, round_: int, refused_before: frozenset[str]
    ) -> None:
        runner = session.config.runner
        assert isinstance(runner, RayRunner)
        self._session, self._journal, self._ray, self._runner, self._round = session, session.journal, ray, runner, round_
        self._refused_before = refused_before
        self._published = _Published(session, round_)
        self._job = Job(session.config, session.domain, session.journal.run_id, round_, storage_of(session), "", folder, 0)
        self._todo: dict[Shard, list[ToPlay]] = {}
        self._waiting: deque[Shard] = deque()
        self._hired: list[_Hired] = []
        self._tasks: dict[asyncio.Task[Any], tuple[str, _Hired]] = {}
        self._leases: dict[int, Lease] = {}
        self._segments: dict[int, int] = {}
        """How many segments there are of shards that were leased before, by their numbers."""
        self._count = self._failures = 0

    async def play(self, todo: Sequence[ToPlay]) -> None:
        """Play all of `todo`."""
        self._divide(todo)
        model = self._session.directory.model_path(self._round - 1)
        if self._round > 1 and model.exists():
            sent = await self._published.patiently(self._published.storage.send_model, model, self._round - 1)
            self._job = self._job._replace(model=sent)
        self._hired = [self._hire(number) for number in range(min(self._runner.workers, len(self._todo)))]
        began, told = asyncio.get_running_loop().time(), False
        try:
            while self._waiting or self._leases:
                self._lease_out()
                await self._wait()
                if not told and not any(w.ready for w in self._hired) and self._now() - began > _ROOM_S:
                    told = True
                    self._session.observer.notice("no worker has started yet: the cluster may lack the GPUs or CPUs they need")
            await self._farewell(self._each(worker.actor.close.remote() for worker in self._hired if worker.ready))
        except asyncio.CancelledError:
            await self._farewell(self._stop())
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for worker in self._hired:
                self._ray.kill(worker.actor)

    def _divide(self, todo: Sequence[ToPlay]) -> None:
        """Put every episode into its shard: the one that its document belongs to by its place in the choice."""
        ids = self._journal.document_ids(self._round)
        shards = min(self._runner.shards, len(ids))
        rest = deque(todo)
        for number in range(1, shards + 1):
            shard, mine = Shard(number, shards), list[ToPlay]()
            for place in shard.part_of(len(ids)):
                while rest and rest[0].document_id == ids[place]:
                    mine.append(rest.popleft())
            if mine:
                self._todo[shard] = mine
        self._waiting.extend(self._todo)

    def _hire(self, number: int) -> _Hired:
        runner, job = self._runner, self._job._replace(number=number)
        options = {"num_cpus": runner.cpus_per_worker, "num_gpus": runner.gpus_per_worker, "max_restarts": 0}
        worker = _Hired(job.number, self._ray.remote(Worker).options(**options).remote(job))
        self._watch("ready", worker, worker.actor.ready.remote())
        return worker

    def _watch(self, what: str, worker: _Hired, answer: Awaitable[Any]) -> None:
        self._tasks[asyncio.ensure_future(_answered(answer))] = (what, worker)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- leases ---------------------------------------------------------------------------------------------------------

    def _lease_out(self) -> None:
        """Lease what waits to workers that have room, the least busy first."""
        while self._waiting:
            free = [worker for worker in self._hired if worker.ready and len(worker.leases) < _AT_ONCE]
            budget = self._budget()
            if not free or budget is None:
                return
            worker, shard = min(free, key=lambda worker: len(worker.leases)), self._waiting.popleft()
            lease = self._lease(shard, budget)
            worker.leases.add(lease.number)
            self._leases[lease.number] = lease
            self._watch(f"lease {lease.number}", worker, worker.actor.play.remote(lease))

    def _lease(self, shard: Shard, budget: Budget) -> Lease:
        self._count += 1
        todo, segments = self._todo[shard], self._segments.get(shard.number, 0)
        refused_before = self._refused_before & {one.id for one in todo}
        return Lease(
            self._count, shard, tuple(todo), refused_before, known_of(self._journal, self._round, todo), budget, segments
        )

    def _budget(self) -> Budget | None:
        """Return the part of what is left that the next lease may spend, None while other leases hold all of it.

        Raises BudgetSpent when nothing is left and nobody spends.
        """
        if not self._leases:
            self._session.account.meter().check()
        left = self._session.account.left()
        free = max(1, _AT_ONCE * len(self._hired) - len(self._leases))
        held = [lease.budget for lease in self._leases.values()]
        tokens = None if left.tokens is None else (left.tokens - sum(b.tokens or 0 for b in held)) // free
        money = None if left.money is None else (left.money - sum(b.money or 0 for b in held)) / free
        if held and ((tokens is not None and tokens < 1) or (money is not None and money <= 0)):
            return None
        return Budget(tokens=None if tokens is None else max(1, tokens), money=money, hours=left.hours)

    # --- what happens -----------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait for something to happen, act on it, and show how far the run is."""
        done, _ = await asyncio.wait(self._tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            what, worker = self._tasks.pop(task)
            if worker in self._hired:
                await self._heard(what, worker, task)
            elif not task.cancelled():
                task.exception()  # of a worker that was replaced: whoever watches knows
        silent = {worker for task, (what, worker) in self._tasks.items() if what == "progress" and not task.done()}
        for worker in list(self._hired):
            since = worker.looking_since
            if since is not None and worker in silent and self._now() - since > self._runner.lease_s:
                await self._lost(worker, f"said nothing for {self._runner.lease_s:.0f} s")
            elif since is None and worker.leases:
                worker.looking_since = self._now()
                self._watch("progress", worker, self._progress(worker))
        tally = reduce(Tally.plus, (worker.unpublished for worker in self._hired), self._journal.tally)
        self._session.observer.refresh(tally, self._session.account.money(tally, within_s=10))
        self._session.account.note_seconds()

    async def _progress(self, worker: _Hired) -> Progress:
        progress: Progress = await worker.actor.progress.remote()
        await asyncio.sleep(_LOOK_S)
        return progress

    async def _heard(self, what: str, worker: _Hired, task: "asyncio.Task[Any]") -> None:
        try:
            answer = task.result()
        except self._ray.exceptions.RayTaskError:
            raise  # a bug of ours
        except self._ray.exceptions.RayError as error:
            await self._lost(worker, f"died: {str(error).splitlines()[0]}")
            return
        if isinstance(answer, Progress):
            worker.looking_since, worker.unpublished = None, answer.unpublished
            await self._take_in(answer.segments)
            for notice in answer.notices:
                self._session.observer.notice(f"worker {worker.number + 1}: {notice}")
        elif what == "ready":
            worker.ready = not answer.why
            if answer.why:
                await self._failed(worker, answer)
        else:
            await self._returned(worker, int(what.split()[1]), answer)

    async def _returned(self, worker: _Hired, number: int, ended: Ended) -> None:
        await self._take_in(ended.segments)
        worker.unpublished = Tally()
        for key, note in ended.notes.items():
            self._journal.note(key, note)
        worker.leases.discard(number)
        lease = self._leases.pop(number)
        if not ended.why:
            del self._todo[lease.shard]
            return
        self._requeue(lease.shard, lease.segments + len(ended.segments))
        if ended.why not in (STOPPED, "BudgetSpent"):
            await self._failed(worker, ended)

    async def _take_in(self, names: Sequence[str]) -> None:
        if await self._published.take_in(names):
            self._failures = 0

    def _requeue(self, shard: Shard, segments: int) -> None:
        """Let what is not finished of a shard be played by the next who has room; it has so many `segments`."""
        finished = self._journal.finished_episodes(self._round)
        self._todo[shard] = [one for one in self._todo[shard] if one.id not in finished]
        self._segments[shard.number] = segments
        if self._todo[shard]:
            self._waiting.appendleft(shard)

    async def _failed(self, worker: _Hired, ended: Ended) -> None:
        """Replace a worker whose model or storage failed. Raises its error when no other one would do better."""
        self._failures += 1
        if ended.why == "ModelUnavailable":
            forget_broken(self._journal)
        if ended.why not in _LATER or self._failures >= len(self._hired):
            error: PopError = getattr(errors, ended.why)(ended.words)
            raise error
        await self._lost(worker, f"failed: {ended.words}")

    async def _lost(self, worker: _Hired, why: str) -> None:
        """Give the shards of a worker to others, but for what it has published, and hire another one in its place."""
        self._session.observer.notice(f"worker {worker.number + 1} {why}; it is replaced")
        self._failures += 1
        self._ray.kill(worker.actor)
        self._hired[self._hired.index(worker)] = self._hire(worker.number)
        for number in worker.leases:
            shard = self._leases.pop(number).shard
            segments, new = await self._published.take_in_all(shard)
            self._failures = 0 if new else self._failures
            self._requeue(shard, segments)
        if self._failures > _DEATHS * len(self._hired):
            raise Stopped(f"workers died {self._failures} times and finished nothing in between; the last one {why}")

    async def _stop(self) -> None:
        """Let every worker publish what it has, and take that in."""
        await self._each(worker.actor.stop.remote() for worker in self._hired if worker.leases)
        while self._leases and any(what.startswith("lease") for what, _ in self._tasks.values()):
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                what, worker = self._tasks.pop(task)
                if what.startswith("lease") and task.exception() is None:
                    await self._returned(worker, int(what.split()[1]), task.result())

    async def _farewell(self, work: Awaitable[None]) -> None:
        with contextlib.suppress(TimeoutError):  # whoever does not answer is killed
            await asyncio.wait_for(work, _FAREWELL_S)

    async def _each(self, answers: Iterator[Awaitable[None]]) -> None:
        await asyncio.gather(*map(_answered, answers), return_exceptions=True)


async def _answered(answer: Awaitable[T]) -> T:
    return await answer
