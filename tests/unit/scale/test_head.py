"""The head: whatever happens to its workers, the run is the one of one machine, and nothing is lost or done twice."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import pop_selfplay as pop
from pop_selfplay.config import RunConfig
from pop_selfplay.domains import load_domain
from pop_selfplay.errors import (
    BudgetSpent,
    ConfigError,
    JournalStopped,
    ModelRefused,
    ModelUnavailable,
    RequestRefused,
    Stopped,
)
from pop_selfplay.journal import Journal, Tally
from pop_selfplay.journal.files import take_lock
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.observer import Unwatched
from pop_selfplay.records import Role
from pop_selfplay.scale.shards import Storage
from pop_selfplay.scale.worker import Ended, Job, Lease, Progress, Worker
from tests.integration.runs import simulated_config, write_texts
from tests.object_store import ObjectStore, object_store
from tests.unit.scale.nearby import Actor, Nearby, nearby
from tests.unit.scale.rows import exports, rows

__all__ = ["nearby"]

FAST: Final = {"type": "ray", "workers": 2, "shards": 3, "publish_s": 0.01}


class Whole:
    """One run of one machine, and its config for a cluster."""

    def __init__(self, folder: Path) -> None:
        self.config = simulated_config(write_texts(folder / "texts", 10), documents=8, candidates=3)
        self.path = folder / "whole"
        pop.run(self.config, self.path)

    def on_ray(self, **runner: Any) -> RunConfig:
        return self.config.changed({"runner": FAST | runner})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    yield Whole(tmp_path_factory.mktemp("whole"))


def assert_same(run: Path, whole: Whole, folder: Path) -> None:
    """Assert that a run holds what the one of one machine holds: every call and episode once, and the same exports."""
    for table in ("documents", "corpus_drops", "calls", "episodes", "call_counts", "episode_counts"):
        assert rows(run, table) == rows(whole.path, table) != set() or table == "corpus_drops", table
    assert exports(run, folder / "a") == exports(whole.path, folder / "b")


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (1, 5), (3, 4), (2, 100)])
def test_the_run_is_the_same_however_many_workers_and_shards(
    nearby: Nearby, whole: Whole, tmp_path: Path, workers: int, shards: int
) -> None:
    pop.run(whole.on_ray(workers=workers, shards=shards), tmp_path / "run")
    assert_same(tmp_path / "run", whole, tmp_path)
    assert len(nearby.actors) == min(workers, shards) and not any(a.worker._folder.exists() for a in nearby.actors)


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_the_storage_can_be_an_object_store(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with object_store(monkeypatch) if kind == "s3" else contextlib.nullcontext():
        assert_stored(f"{kind}://bucket/{tmp_path.name}", whole, tmp_path)


def assert_stored(url: str, whole: Whole, tmp_path: Path) -> None:
    pop.run(whole.on_ray(storage=url), tmp_path / "run")
    assert_same(tmp_path / "run", whole, tmp_path)
    assert len(Storage(url).published(1)) >= 3 and not (tmp_path / "run" / "segments").exists()
    with pytest.raises(ConfigError, match="holds the work of another run"):
        pop.run(whole.on_ray(storage=url), tmp_path / "other")


class Mending(Unwatched):
    """Mends the storage as soon as the run tells that it tries again."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.told = store, list[str]()

    def notice(self, text: str) -> None:
        self.told.append(text)
        if "it is tried again" in text:
            self.store.trouble = ""


def test_a_storage_that_does_not_answer_for_a_while_costs_nothing_and_for_good_stops_the_run_resumably(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"model": whole.config.model.changed({"seconds_per_call": 0.02})}
    with object_store(monkeypatch) as store:
        config = whole.on_ray(storage="s3://bucket/mine", patience_s=0.3).changed(slow)
        store.breaks_at = 2  # the run's mark, and the first segment
        with pytest.raises(JournalStopped, match=r"runner\.storage s3://bucket/mine: .*; resume when it answers again"):
            pop.run(config, tmp_path / "run")
        assert store.refused > 2
        store.trouble, store.breaks_at = "", len(store.objects) + 1
        mending = Mending(store)
        pop.run(config.changed({"runner": config.runner.changed({"patience_s": 60})}), tmp_path / "run", mending)
        assert any("it is tried again for 60 s" in told for told in mending.told)
    assert_same(tmp_path / "run", whole, tmp_path)


class Killing(Unwatched):
    """Kills a worker that is at work whenever so many more episodes have come in."""

    def __init__(self, nearby: Nearby, times: int) -> None:
        self.nearby, self.times, self.last, self.told = nearby, times, 0, list[str]()

    def refresh(self, tally: Tally, money: float) -> None:
        done = sum(n for (round_, _, _), n in tally.episodes.items() if round_ == 1)
        if self.times and done > self.last:
            busy = [a for a in self.nearby.actors if not a.dead.is_set() and a.worker._leases]
            if busy:
                busy[0].dead.set()
                self.last, self.times = done, self.times - 1

    def notice(self, text: str) -> None:
        self.told.append(text)


def test_what_a_dead_worker_has_not_published_is_played_by_others(nearby: Nearby, whole: Whole, tmp_path: Path) -> None:
    one_by_one = whole.config.synthesis.changed({"episodes_in_flight": 1})
    slow = {"model": whole.config.model.changed({"seconds_per_call": 0.02}), "synthesis": one_by_one}
    killing = Killing(nearby, 2)
    pop.run(whole.on_ray(workers=1, shards=4).changed(slow), tmp_path / "run", killing)
    assert not killing.times and sum("died: the actor is dead; it is replaced" in told for told in killing.told) == 2
    assert_same(tmp_path / "run", whole, tmp_path)


class KillingThePublished(Killing):
    """Kills a worker that is at work twice, whenever more was published."""

    def __init__(self, nearby: Nearby, run: Path) -> None:
        super().__init__(nearby, 2)
        self.run = run

    def refresh(self, tally: Tally, money: float) -> None:
        published = len(list(self.run.rglob("*.parquet")))
        super().refresh(Tally(episodes=Counter({(1, "", ""): published})), money)


def test_a_shard_is_leased_again_without_what_its_dead_worker_published(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a restart by Ray itself, which repeats the call as it was, would play and pay for twice."""
    leases = watch_leases(monkeypatch)
    one_by_one = whole.config.synthesis.changed({"episodes_in_flight": 1})
    slow = {"model": whole.config.model.changed({"seconds_per_call": 0.02}), "synthesis": one_by_one}
    pop.run(whole.on_ray(workers=1, shards=1).changed(slow), tmp_path / "run", KillingThePublished(nearby, tmp_path / "run"))
    first, second, third = ({one.id for one in lease.episodes} for lease in leases)
    assert len(first) == 8 and first > second > third and [lease.segments > 0 for lease in leases] == [False, True, True]
    assert_same(tmp_path / "run", whole, tmp_path)


def watch_leases(monkeypatch: pytest.MonkeyPatch) -> list[Lease]:
    """Return the list into which every lease goes that a worker gets."""
    seen, play = list[Lease](), Worker.play

    async def watched(self: Worker, lease: Lease) -> Ended:
        seen.append(lease)
        return await play(self, lease)

    monkeypatch.setattr(Worker, "play", watched)
    return seen


def test_a_worker_removes_what_dead_ones_of_its_run_left_on_the_machine(whole: Whole, tmp_path: Path) -> None:
    dead, alive, other = (tmp_path / f"pop-worker-{name}" for name in ("mine-dead", "mine-alive", "other-dead"))
    for folder in (dead, alive, other):
        folder.mkdir()
        (folder / "lock").touch()
    (tmp_path / "pop-worker-mine-new").mkdir()  # not yet locked
    with take_lock(alive / "lock"):
        worker = Worker(Job(whole.on_ray(), load_domain("health_care"), "mine", 1, str(tmp_path), "", str(tmp_path), 0))
    mine = worker._folder.name
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, other.name, "pop-worker-mine-new", mine}
    asyncio.run(worker.close())
    assert mine not in {path.name for path in tmp_path.iterdir()}


class Interrupting(Unwatched):
    """Ends the run, as Ctrl-C does, once a worker has begun something."""

    def __init__(self) -> None:
        self.seen = False

    def refresh(self, tally: Tally, money: float) -> None:
        if sum(tally.calls.values()) >= 6 and not self.seen:
            self.seen = True
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


def test_a_run_that_is_stopped_keeps_every_finished_call_also_of_unfinished_episodes(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = whole.on_ray(publish_s=60).changed({"model": whole.config.model.changed({"seconds_per_call": 0.02})})
    with pytest.raises(asyncio.CancelledError):
        pop.run(slow, tmp_path / "run", Interrupting())
    calls = rows(tmp_path / "run", "calls")
    assert len(calls) >= 6 and calls <= rows(whole.path, "calls")
    assert len(rows(tmp_path / "run", "episodes")) < 8
    seen = watch_leases(monkeypatch)
    pop.run(whole.on_ray(), tmp_path / "run")
    assert_same(tmp_path / "run", whole, tmp_path)
    assert any(lease.known.calls for lease in seen), "the calls go to whoever plays on"


def test_a_fork_pays_for_nothing_again_that_it_inherited(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        raise AssertionError(f"{request.group} asks the {request.role}")

    monkeypatch.setattr(SimulatedChatModel, "complete", asked)
    pop.run(whole.on_ray().changed({"pairing": {"min_std": 0.2}}), tmp_path / "fork", fork_from=whole.path)
    assert rows(tmp_path / "fork", "calls") == rows(whole.path, "calls")


def test_a_document_that_the_server_refuses_ends_neither_the_run_nor_its_resume(
    nearby: Nearby, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, refused = SimulatedChatModel.complete, list[str]()

    async def picky(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        if request.role is Role.PROPOSER and not refused:
            refused.append(request.group)
        if request.group in refused:
            raise RequestRefused("too long")
        return await complete(self, request)

    monkeypatch.setattr(SimulatedChatModel, "complete", picky)
    for _ in range(2):  # a resume asks for this one alone, by a worker who has never been answered
        pop.run(whole.on_ray(workers=1), tmp_path / "run")
        with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
            assert journal.tally.episodes[1, "proposer", "refused"] == 1 and journal.tally.episodes.total() == 8


def test_the_budget_ends_a_run_on_many_workers_near_its_limit_and_more_of_it_resumes_the_run(
    nearby: Nearby, whole: Whole, tmp_path: Path
) -> None:
    with Journal.open_to_read(whole.path / "run.db") as journal:
        total = journal.tally.total_tokens("prompt") + journal.tally.total_tokens("generated")
        calls = journal.tally.calls.total()
    limit = total // 2
    config = whole.on_ray(shards=4).changed({"budget": {"tokens": limit}})
    with pytest.raises(BudgetSpent, match=r"budget.tokens"):
        pop.run(config, tmp_path / "run")
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        spent = journal.tally.total_tokens("prompt") + journal.tally.total_tokens("generated")
    assert limit <= spent <= limit + 8 * total / calls
    pop.run(whole.on_ray(), tmp_path / "run")
    assert_same(tmp_path / "run", whole, tmp_path)


class Failing:
    """A worker whose model fails, at once or when it plays."""

    def __init__(self, job: Job, why: str = "ModelUnavailable", at: str = "play") -> None:
        self.why, self.at = why, at
        self._leases: dict[int, Lease] = {}

    async def ready(self) -> Ended:
        return Ended(self.why, "no luck") if self.at == "ready" else Ended()

    async def play(self, lease: Lease) -> Ended:
        return Ended(self.why, "no luck")

    async def progress(self) -> Progress:
        return Progress((), Tally(), ())

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("why", "at", "error"),
    [
        ("ModelUnavailable", "play", ModelUnavailable),
        ("ModelRefused", "play", ModelRefused),
        ("ModelRefused", "ready", ModelRefused),
        ("ConfigError", "ready", ConfigError),
    ],
)
def test_a_model_that_fails_on_every_worker_ends_the_run_with_its_error(
    nearby: Nearby, whole: Whole, tmp_path: Path, why: str, at: str, error: type[Exception]
) -> None:
    nearby.make = lambda job: Failing(job, why, at)
    with pytest.raises(error, match="no luck"):
        pop.run(whole.on_ray(), tmp_path / "run")
    assert len(nearby.actors) <= 3


def test_a_model_that_fails_on_one_worker_alone_does_not(nearby: Nearby, whole: Whole, tmp_path: Path) -> None:
    nearby.make = lambda job: Worker(job) if nearby.actors else Failing(job)
    pop.run(whole.on_ray(), tmp_path / "run")
    assert_same(tmp_path / "run", whole, tmp_path)


class Dying(Failing):
    async def play(self, lease: Lease) -> Ended:
        await asyncio.sleep(0)
        raise_in: Actor = self.actor
        raise_in.dead.set()
        await asyncio.sleep(60)
        return Ended()

    actor: Actor


def test_workers_that_do_nothing_but_die_end_the_run(nearby: Nearby, whole: Whole, tmp_path: Path) -> None:
    hire = nearby._hire

    def hired(job: Job) -> Actor:
        actor = hire(job)
        actor.worker.actor = actor
        return actor

    nearby.make, nearby._hire = Dying, hired  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="workers died 7 times and finished nothing"):
        pop.run(whole.on_ray(), tmp_path / "run")


class Silent(Failing):
    async def play(self, lease: Lease) -> Ended:
        await asyncio.sleep(60)
        return Ended()

    async def progress(self) -> Progress:
        await asyncio.sleep(60)
        return Progress((), Tally(), ())


class Nowhere(Silent):
    """A worker for whom the cluster has no room."""

    async def ready(self) -> Ended:
        await asyncio.sleep(60)
        return Ended()

    async def close(self) -> None:
        await asyncio.sleep(60)


def test_a_worker_for_whom_there_is_no_room_is_not_waited_for(nearby: Nearby, whole: Whole, tmp_path: Path) -> None:
    nearby.make = lambda job: Nowhere(job) if job.number else Worker(job)
    pop.run(whole.on_ray(), tmp_path / "run")
    assert len(nearby.actors) == 2 and all(actor.dead.is_set() for actor in nearby.actors)
    assert_same(tmp_path / "run", whole, tmp_path)


def test_a_worker_that_says_nothing_loses_its_shards(nearby: Nearby, whole: Whole, tmp_path: Path) -> None:
    nearby.make = lambda job: Worker(job) if len(nearby.actors) else Silent(job)
    told = Killing(nearby, 0)
    pop.run(whole.on_ray(lease_s=1), tmp_path / "run", told)
    assert any("said nothing for 1 s; it is replaced" in text for text in told.told)
    assert_same(tmp_path / "run", whole, tmp_path)
