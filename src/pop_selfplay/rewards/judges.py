"""A judge for the reward alone: which model, by which prompts and settings, where its calls are kept; and how it is asked.

A trainer is synchronous, and a notebook or another trainer may already run a loop in the calling thread. So the judge lives in
an event loop in a thread of its own: `Bridge`. Models, clients and the journal belong to the loop and thread they were opened
in; they are opened there with the first work, and kept until `close`.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, Synthesis, complaints
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ConfigError, ModelRefused, ModelUnavailable
from pop_selfplay.journal import Journal
from pop_selfplay.models import open_model
from pop_selfplay.records import Role
from pop_selfplay.stages.calls import Cast

C = TypeVar("C")
T = TypeVar("T")


class Bridge(Generic[C]):
    """Works on what `opened` yields. It is entered in the thread, with the first work, and left by `close`."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[C]], *, name: str) -> None:
        self._opened = opened
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening = asyncio.Lock()
        self._inside: list[C] = []  # what `opened` yielded, once it has
        self._stack = AsyncExitStack()
        self._closed = False

    def submit(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        """Begin `work` in the thread and return at once. What opening and work raise is raised by the future.

        Raises RuntimeError once closed.
        """
        with self._lock:  # until the work is in the loop's hands: `close` then finds and cancels it
            if self._closed:
                raise RuntimeError("this judge was closed: make a new reward")
            return asyncio.run_coroutine_threadsafe(self._do(work), self._loop or self._start())

    def run(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        """Do `work` in the thread and return what it returns. An interrupt while waiting cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()  # nothing happens to one that is done

    def close(self) -> None:
        """Cancel what still goes on, leave what was opened, and end the thread. Idempotent."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._leave(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        # A daemon: a judge that nobody closed must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
        self._thread.start()
        return self._loop

    async def _do(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        async with self._opening:
            if not self._inside:
                self._inside.append(await self._stack.enter_async_context(self._opened()))
        return await work(self._inside[0])

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._stack.aclose()


IN_MEMORY: Final = Path(":memory:")
"""A journal that lives as long as the reward."""
_ASK_TIMEOUT_S: Final = 30.0
_ANY_MODEL: Final[TypeAdapter[ModelConfig]] = TypeAdapter(ModelConfig)


class Judging(NamedTuple):
    """How answers are judged: by whom, with which prompts, mode and sampling."""

    judge: ModelConfig
    domain: Domain
    synthesis: Synthesis
    seed: int


@asynccontextmanager
async def open_judge(judging: Judging, journal: Path) -> AsyncIterator[Cast]:
    """Yield a cast of the judge alone, its calls kept in `journal`. Raises ModelRefused when it cannot be opened."""
    model = open_model(judging.judge)
    try:
        with Journal.open(journal) as kept:
            yield Cast({Role.JUDGE: model}, judging.domain, judging.synthesis, kept, judging.seed)
    finally:
        await model.close()


def judge_config(judge: ModelConfig | Mapping[str, Any] | str) -> ModelConfig:
    """Return the config of `judge`: itself, the same as plain data, the address of a server, or the path of a model.

    A server that is given by its address is asked which model it serves. Raises ConfigError for anything else, or where it
    serves several; ModelUnavailable when it does not answer.
    """
    if isinstance(judge, str):
        if judge.startswith(("http://", "https://")):
            return EndpointModel(base_url=judge, model=_served(judge))
        return LocalModel(path=judge)
    if not isinstance(judge, Mapping):
        return judge
    try:
        return _ANY_MODEL.validate_python(dict(judge))
    except ValidationError as error:
        raise ConfigError(f"judge {dict(judge)!r:.200} is not a model config: {complaints(error, ModelConfig)[0]}") from error


def _served(address: str) -> str:
    """Return the name of the one model behind `address`."""
    url = f"{address.rstrip('/')}/models"
    try:
        reply = httpx2.get(url, timeout=_ASK_TIMEOUT_S)
        reply.raise_for_status()
        names = [str(model["id"]) for model in reply.json()["data"]]
    except httpx2.TransportError as error:
        raise ModelUnavailable(f"no answer from {url}: {error or type(error).__name__}. Is the server up?") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ModelRefused(f"{url} does not list its models: {error}. Give the judge as {_AS_DATA}") from error
    if len(names) != 1:
        raise ConfigError(f"{address} serves {len(names)} models ({', '.join(names)}): give the judge as {_AS_DATA}")
    return names[0]


_AS_DATA: Final = '{"type": "endpoint", "base_url": …, "model": …}'
