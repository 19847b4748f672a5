"""A transformers model in this process, with concurrent requests batched together: `LocalChatModel`.

| file | what |
| --- | --- |
| loading.py | weights, tokenizer, device and dtype from the config |
| prompts.py | conversations to token ids, through the chat template |
| waves.py | which requests are generated together |
| decoding.py | one batch, from prompts to tokens |
| sampling.py | one token per row, each row from its own seed |
| cache.py | keys and values that grow in place |

Requests are answered in waves: once no caller has anything more to ask, all that wait are sorted by content, cut into batches,
generated in a worker thread and answered together. So the same requests make the same batches, and on one machine the same
texts, however the event loop happened to interleave their callers.

The decoding loop is our own and not `transformers.generate`: with rows leaving the batch as they end, identical prompts read
once and a cache that is not copied at each step it is about twice as fast for small models (see benchmarks), and nothing of a
model's generation_config (top-k, repetition penalty) slips into the sampling.
"""

import asyncio
import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import torch

from pop_selfplay.config import LocalModel
from pop_selfplay.errors import ModelUnavailable, RequestRefused
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.local.decoding import decode
from pop_selfplay.models.local.loading import Loaded, load
from pop_selfplay.models.local.prompts import encode
from pop_selfplay.models.local.waves import Row, cut_into_batches

_QUIET_TURNS: Final = 32  # of the event loop, without a new request; tasks within tasks take one turn per level to get here


class _Waiting(NamedTuple):
    request: ChatRequest
    answer: asyncio.Future[Completion]


class LocalChatModel:
    """A ChatModel from a directory or hub name. Belongs to the event loop of its first call."""

    def __init__(self, config: LocalModel, *, name: str | None = None) -> None:
        """Load the weights. Raises ModelRefused when they, the tokenizer or the device cannot be used."""
        self._config = config
        self._name = name or config.path
        self._loaded: Loaded | None = load(config)
        self._queue: list[_Waiting] = []
        self._server: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._closing = threading.Event()

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request` with the next wave.

        Raises RequestRefused when its prompt does not fit the context or the chat template, ModelUnavailable when memory runs
        out or the model is closed.
        """
        if self._loaded is None:
            raise ModelUnavailable(f"{self._name} is closed")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve(self._loaded), name=f"{self._name} waves")
        return await waiting.answer

    async def close(self) -> None:
        """End the batch in the making within a step, fail what still waits, and free the weights."""
        self._closing.set()
        if self._server is not None:
            await asyncio.wait([self._server])
        self._thread.shutdown()
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _serve(self, loaded: Loaded) -> None:
        """Answer wave after wave until nothing waits."""
        loop = asyncio.get_running_loop()
        while self._queue:
            await self._until_quiet()
            wave, self._queue = [waiting for waiting in self._queue if not waiting.answer.done()], []
            requests = [waiting.request for waiting in wave]
            generating = loop.run_in_executor(self._thread, self._generate, loaded, requests)
            await asyncio.wait([generating])
            error = generating.exception()
            outcomes = [error] * len(wave) if error is not None else generating.result()
            for waiting, outcome in zip(wave, outcomes, strict=True):
                if waiting.answer.done():
                    continue  # its caller was cancelled meanwhile
                if isinstance(outcome, Completion):
                    waiting.answer.set_result(outcome)
                else:
                    waiting.answer.set_exception(outcome)

    async def _until_quiet(self) -> None:
        quiet, known = 0, len(self._queue)
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == known else 0
            known = len(self._queue)

    def _generate(self, loaded: Loaded, requests: Sequence[ChatRequest]) -> list[Completion | RequestRefused]:
        """Return one outcome per request, in order. Runs in the worker thread."""
        outcomes: list[Completion | RequestRefused | None] = [None] * len(requests)
        rows: list[Row] = []
        for place, (request, prompt) in enumerate(zip(requests, encode(loaded, requests), strict=True)):
            if isinstance(prompt, RequestRefused):
                outcomes[place] = prompt
            else:
                rows.append(Row(place, request, prompt, min(request.max_tokens, loaded.context - len(prompt))))
        for batch in cut_into_batches(rows, self._config.batch_tokens, loaded.max_rows):
            try:
                completions = decode(loaded, batch, self._closing)
            except torch.OutOfMemoryError as error:
                raise ModelUnavailable(
                    f"{self._name}: memory ran out with {len(batch)} rows in a batch: lower model.batch_tokens "
                    f"(now {self._config.batch_tokens}), then resume with `pop run DIR`: {error}"
                ) from error
            for row, completion in zip(batch, completions, strict=True):
                outcomes[row.place] = completion
        return [outcome for outcome in outcomes if outcome is not None]
