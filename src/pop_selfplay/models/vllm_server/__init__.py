"""A model that the run serves itself: a ChatModel with its own `vllm serve`.

| file | what |
| --- | --- |
| process.py | the server process: command, log, start, stop, leftovers |
| watchdog.py | the process in between, which ends the server when the run is gone |

The server starts with the first call and stops with `close`. If it dies in between, it is restarted, provided that it has
answered something since the last start; calls wait for it as for any server that is down.
"""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pop_selfplay.config import EndpointModel, VllmModel
from pop_selfplay.errors import ModelError, ModelUnavailable
from pop_selfplay.models.base import ChatRequest, Completion, Notice
from pop_selfplay.models.chat_template import template_opens_reasoning
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.model_files import expanded
from pop_selfplay.models.vllm_server.process import GPUClaim, VllmProcess, gpu_sharing_here
from pop_selfplay.records import Role

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)


class VllmChatModel:
    """A ChatModel on a vLLM server that it starts, watches and stops. Belongs to the event loop of its first call."""

    def __init__(
        self, config: VllmModel, *, name: str | None = None, notice: Notice = _LOG.warning, folder: Path | None = None
    ) -> None:
        """Nothing is started yet. `folder` gets the log; without one it goes to a temporary directory.

        Models of one event loop that share a GPU take turns on it. Raises ModelRefused when the executable cannot be found.
        """
        self._name, self._notice = name or "vllm", notice
        self._process = VllmProcess(config, self._name, folder or Path(tempfile.mkdtemp(prefix="pop-vllm-")))
        served = EndpointModel(
            base_url=f"http://127.0.0.1:{self._process.port}/v1",
            model=self._name,
            n=config.n,
            max_in_flight=config.max_in_flight,
            timeout_s=config.timeout_s,
            patience_s=config.patience_s,
            thinking=config.thinking,
        )
        opened = template_opens_reasoning(Path(expanded(config.path)))
        self._endpoint = EndpointChatModel(served, notice=notice, opens_reasoning=opened)
        self._claim = GPUClaim(None if config.gpus is None else frozenset(config.gpus), self._stop)
        self._starting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._answered = 0

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Raises ModelRefused when the server does not start, else what the endpoint raises."""
        return await self._asked(partial(self._endpoint.complete, request))

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer `requests` in one call, as the endpoint does."""
        return await self._asked(partial(self._endpoint.complete_many, requests))

    async def constrains(self, role: Role) -> bool:
        """Tell whether the server decodes by a form."""
        return await self._asked(partial(self._endpoint.constrains, role))

    async def close(self) -> None:
        await self._stop()
        await self._endpoint.close()

    async def _asked(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with gpu_sharing_here().held(self._claim):
            watching = await self._started()
            call = asyncio.create_task(ask())
            try:
                await asyncio.wait({call, watching}, return_when=asyncio.FIRST_COMPLETED)
                if not call.done():
                    watching.result()  # it gave up, and says why
                answer = call.result()
            finally:
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)  # no call may outlive its turn
            self._answered += 1
            return answer

    async def _started(self) -> "asyncio.Task[None]":
        """Start the server unless it runs, and return the task that watches it."""
        async with self._starting:
            if self._watching is None:
                self._notice(f"starting vLLM; its log is {self._process.log}")
                await self._process.start()
                self._watching = asyncio.create_task(self._watch())
            return self._watching

    async def _watch(self) -> None:
        """Start the server again whenever it dies. Raises ModelUnavailable when that no longer makes sense."""
        while True:
            before = self._answered
            code = await self._process.ended()
            if self._answered == before:
                raise ModelUnavailable(f"vLLM ended with code {code} without an answer; {self._process.last_words()}")
            self._notice(f"vLLM ended with code {code}; restarting it; {self._process.last_words()}")
            try:
                await self._process.start()
            except ModelError as error:
                raise ModelUnavailable(f"vLLM ended with code {code} and could not be restarted: {error}") from error

    async def _stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, ModelError):
                await self._watching
            self._watching = None
        await self._process.stop()
