"""A transformers model in this process, with concurrent requests batched together: `LocalChatModel`.

| file | what |
| --- | --- |
| loading.py | weights, tokenizer, device and dtype from the config |
| decoding.py | one batch, from prompts to tokens, with keys and values that grow in place |
| sampling.py | one token per row, each row from its own seed, and the alternatives where they are asked for |

Requests are answered in waves: once no caller has anything more to ask, all that wait are sorted by content, cut into batches,
generated in worker threads and answered together. So the same requests make the same batches, and on one machine the same
texts, however the event loop happened to interleave their callers.

The decoding loop is our own and not `transformers.generate`: rows leave the batch as they end, equal prompts are read once, and
the cache is not copied at each step, which makes small models about twice as fast. And nothing of a model's generation_config
(top-k, repetition penalty) slips into the sampling.
"""

import asyncio
import functools
import gc
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import torch

from pop_selfplay.config import LocalModel
from pop_selfplay.errors import ModelUnavailable, RequestRefused
from pop_selfplay.extras import install_line
from pop_selfplay.models.base import ChatRequest, Completion, Notice
from pop_selfplay.models.chat_template import opens_reasoning, render_prompt
from pop_selfplay.models.local.decoding import decode, grammars_of
from pop_selfplay.models.local.loading import Loaded, load
from pop_selfplay.models.local.sampling import Row
from pop_selfplay.models.model_files import check_ids
from pop_selfplay.records import Message, Role

_LOG: Final = logging.getLogger(__name__)
_ANYTHING: Final = (Message(role="user", content="Hello"),)
_WITHOUT: Final = (
    f"install llguidance ({install_line('constrain')}), and use a model with a fast tokenizer. Until then "
    "synthesis.constrain: auto changes nothing, and answers keep their form as well as the model can"
)
_QUIET_TURNS: Final = 32  # of the event loop, without a new request; tasks within tasks take one turn per level to get here


class _Waiting(NamedTuple):
    request: ChatRequest
    answer: asyncio.Future[Completion]


class LocalChatModel:
    """A ChatModel from a directory or hub name. Belongs to the event loop of its first call."""

    def __init__(self, config: LocalModel, *, name: str | None = None, notice: Notice = _LOG.warning) -> None:
        """Load the weights. Raises ModelRefused when they, the tokenizer or the device cannot be used."""
        self._config, self._notice = config, notice
        self._name = name or config.path
        self._loaded: Loaded | None = load(config)
        self._queue: list[_Waiting] = []
        self._server: asyncio.Task[None] | None = None
        self._torch_threads = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(
            max_workers=self._loaded.batches_at_once,
            thread_name_prefix="generate",
            initializer=torch.set_num_threads,
            initargs=(max(1, self._torch_threads // self._loaded.batches_at_once),),
        )
        self._closing = threading.Event()
        self._tried = False
        self._trying = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request` with the next wave.

        Raises RequestRefused when its prompt does not fit the context or the chat template, ModelUnavailable when memory runs
        out or the model is closed.
        """
        if request.form is not None and not self._tried:  # a resumed run remembers the answer and does not ask again
            await self.constrains(request.role)
        if self._loaded is None:
            raise ModelUnavailable(f"{self._name} is closed")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve(), name=f"{self._name} waves")
        return await waiting.answer

    async def constrains(self, role: Role) -> bool:
        """Tell whether answers are decoded by their form: where the library for it can read this model's tokens."""
        async with self._trying:  # roles ask at once, and all of them wait for what the first one finds out
            loaded = self._loaded
            if loaded is None or opens_reasoning(render_prompt(loaded.tokenizer, _ANYTHING, loaded.thinking.of(role))):
                return False
            if not self._tried:
                grammars = await asyncio.to_thread(grammars_of, loaded.tokenizer, loaded.vocabulary, loaded.end_ids)
                if grammars is None:
                    self._notice(f"{self._name} cannot be decoded by grammars: {_WITHOUT}")
                if self._loaded is not None:  # it may be closed meanwhile
                    self._loaded = loaded._replace(grammars=grammars)
                self._tried = True
            return self._loaded is not None and self._loaded.grammars is not None

    async def close(self) -> None:
        """End the batch in the making within a step, fail what still waits, and free the weights."""
        self._closing.set()
        if self._server is not None and not self._server.done():
            await asyncio.wait([self._server])
        self._threads.shutdown()
        torch.set_num_threads(self._torch_threads)  # what a worker sets is also what new threads start with
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _serve(self) -> None:
        """Answer wave after wave until nothing waits."""
        while self._queue:
            await self._until_quiet()
            loaded = self._loaded  # the latest: grammars may have come along
            assert loaded is not None  # close() waits for this task before it frees the weights
            wave, self._queue = [waiting for waiting in self._queue if not waiting.answer.done()], []
            requests = [waiting.request for waiting in wave]
            (outcomes,) = await asyncio.gather(self._outcomes(loaded, requests), return_exceptions=True)
            if isinstance(outcomes, BaseException):
                outcomes = [outcomes] * len(wave)
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

    async def _outcomes(self, loaded: Loaded, requests: Sequence[ChatRequest]) -> list[Completion | BaseException]:
        """Return what becomes of each request, in order: its completion, or the error that its caller gets."""
        in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, self._threads)
        outcomes: dict[int, Completion | BaseException] = {}
        rows: list[Row] = []
        prompts = await in_thread(encode, loaded, requests)
        for place, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            if isinstance(prompt, RequestRefused):
                outcomes[place] = prompt
            else:
                rows.append(Row(place, request, prompt, min(request.max_tokens, loaded.context - len(prompt))))
        batches = list(cut_into_batches(rows, self._config.batch_tokens, loaded.max_rows))
        done = await asyncio.gather(*(in_thread(self._decode, loaded, batch) for batch in batches), return_exceptions=True)
        for batch, completions in zip(batches, done, strict=True):
            for number, row in enumerate(batch):
                outcomes[row.place] = completions if isinstance(completions, BaseException) else completions[number]
        return [outcomes[place] for place in range(len(requests))]

    def _decode(self, loaded: Loaded, batch: Sequence[Row]) -> list[Completion]:
        try:
            return decode(loaded, batch, self._closing)
        except torch.OutOfMemoryError as error:
            raise ModelUnavailable(
                f"{self._name}: memory ran out on a batch of {len(batch)} rows: lower model.batch_tokens "
                f"(now {self._config.batch_tokens}), then resume with `pop run DIR`: {error}"
            ) from error


def cut_into_batches(rows: Sequence[Row], batch_tokens: int, max_rows: int) -> Iterator[list[Row]]:
    """Yield `rows` in batches of at most `max_rows` rows and `batch_tokens` tokens, padding and answers counted.

    Rows of like length stand together, so that little is padded, and equal prompts side by side, so that each is read once. A
    single row beyond `batch_tokens` is a batch of its own.
    """
    batch: list[Row] = []
    prompt = 0  # the longest one of the batch, to which all others are padded
    for row in sorted(rows, key=_likeness):  # so that no row before it has more new tokens
        prompt = max(prompt, len(row.prompt))
        if batch and (len(batch) == max_rows or (len(batch) + 1) * (prompt + row.max_new) > batch_tokens):
            yield batch
            batch, prompt = [], len(row.prompt)
        batch.append(row)
    if batch:
        yield batch


def _likeness(row: Row) -> tuple[int, int, list[int], tuple[float, float, int, str]]:
    request = row.request
    return row.max_new, len(row.prompt), row.prompt, (request.temperature, request.top_p, request.seed, request.stop)


_Asked = tuple[Role, tuple[Message, ...]]


def encode(loaded: Loaded, requests: Sequence[ChatRequest]) -> list[list[int] | RequestRefused]:
    """Return each request's prompt as token ids, or why it cannot be asked. What is equal is encoded once."""
    ids: dict[_Asked, list[int] | RequestRefused] = {}
    texts: dict[_Asked, str] = {}
    for request in requests:
        asked = request.role, request.messages
        if asked not in ids and asked not in texts:
            try:
                texts[asked] = render_prompt(loaded.tokenizer, request.messages, loaded.thinking.of(request.role))
            except RequestRefused as refused:
                ids[asked] = refused
    if texts:
        # The template has written all special tokens already.
        encoded = loaded.tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"]
        ids.update(zip(texts, (_fitting(loaded, prompt) for prompt in encoded), strict=True))
    return [ids[request.role, request.messages] for request in requests]


def _fitting(loaded: Loaded, prompt: list[int]) -> list[int] | RequestRefused:
    if not prompt:
        return RequestRefused("the prompt is empty")
    if len(prompt) >= loaded.context:
        return RequestRefused(
            f"the prompt has {len(prompt)} tokens and the model's context {loaded.context}: shorten the document"
        )
    try:
        check_ids(prompt, loaded.vocabulary)
    except RequestRefused as refused:
        return refused
    return prompt
