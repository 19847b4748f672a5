"""A stand-in for Ray whose actors live in the head's own event loop, so that what the head does is tested in a moment."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pop_selfplay.scale import head
from pop_selfplay.scale.worker import Worker


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Actor:
    """One worker. `kill` fails every call that is in flight, as the death of its process would."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.dead = asyncio.Event()

    def __getattr__(self, method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: asyncio.ensure_future(self._call(method, *arguments)))

    async def _call(self, method: str, *arguments: Any) -> Any:
        call = asyncio.ensure_future(getattr(self.worker, method)(*arguments))
        death = asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait({call, death}, return_when=asyncio.FIRST_COMPLETED)
            if self.dead.is_set():
                raise RayError("the actor is dead")
            return call.result()
        finally:
            death.cancel()
            call.cancel()
            await asyncio.gather(call, death, return_exceptions=True)


class Nearby(ModuleType):
    """What the head uses of Ray. `actors` are all that were ever made; `make` makes what a worker is."""

    def __init__(self, make: Callable[..., Any] = Worker) -> None:
        super().__init__("nearby")
        self.make = make
        self.actors: list[Actor] = []
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def remote(self, kind: type) -> SimpleNamespace:
        assert kind is Worker

        def options(**resources: float) -> SimpleNamespace:
            return SimpleNamespace(remote=self._hire)

        return SimpleNamespace(options=options)

    def _hire(self, *arguments: Any) -> Actor:
        self.actors.append(Actor(self.make(*arguments)))
        return self.actors[-1]

    def kill(self, actor: Actor) -> None:
        actor.dead.set()


@pytest.fixture
def nearby(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nearby]:
    """Put the stand-in where the head looks for Ray."""
    ray = Nearby()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("machine")))  # dead workers leave their folders

    @contextlib.contextmanager
    def cluster(session: object) -> Iterator[tuple[ModuleType, None]]:
        yield ray, None

    monkeypatch.setattr(head, "cluster", cluster)
    monkeypatch.setattr(head, "_LOOK_S", 0.01)
    yield ray
    for actor in ray.actors:
        if isinstance(actor.worker, Worker):
            actor.worker._lock.close()  # as the death of its process would
            if hasattr(actor.worker, "_casting"):
                actor.worker._casting.journal.close()
