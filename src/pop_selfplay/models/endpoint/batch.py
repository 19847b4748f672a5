"""Calls sent as batches: half the price at OpenAI and Anthropic, answered within a day.

    calls ──collected until no more come──▶ one batch ──asked now and then──▶ done ──▶ every caller gets its answer

A batch's id and calls are written down the moment it exists, in the run directory. A run that was killed makes the same calls
again when it is resumed; those that are in a batch wait for that batch, and none is paid for twice. What a batch could not
answer (an error, or the day was over) is asked one by one, as are all calls of a server that has no batches; both are told.
A provider's batch API is a class with `submit` and `results`, and a case in `_api_of`.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.models.base import ChatRequest, Completion, Notice
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.endpoint.dialects import dialect_of
from pop_selfplay.models.endpoint.errors import Kind, read_error
from pop_selfplay.models.endpoint.http import Dropped, HttpClient, Response, Unusable
from pop_selfplay.models.endpoint.reply import Unreadable, read_json
from pop_selfplay.models.endpoint.servers import Patience, Transient
from pop_selfplay.models.endpoint.wire import Body, url_of

_LOG: Final = logging.getLogger(__name__)
_QUIET_S: Final = 1.0
_MOST_CALLS: Final = 50_000
_MOST_BYTES: Final = 150_000_000
_MOST_RESULTS: Final = 2_000_000_000
_OVER: Final = frozenset({"completed", "failed", "expired", "cancelled"})


class _NoBatches(Exception):
    """The server takes no batches, or lost one; the message says why."""


class _Api(Protocol):
    async def submit(self, calls: Mapping[str, Body]) -> str:
        """Send `calls`, by their ids, as one batch and return its id."""
        ...

    async def results(self, batch: str) -> dict[str, bytes] | None:
        """Return the replies by the ids of their calls, without those that failed; None while the batch is not done."""
        ...


class _Web:
    """Requests about batches, tried again while that may help."""

    def __init__(self, config: EndpointModel) -> None:
        self.base_url = config.urls[0]
        self._headers = dialect_of(config).headers(config)
        self._http = HttpClient(config.timeout_s, _MOST_RESULTS)
        self._patience_s = config.patience_s

    async def get(self, path: str) -> bytes:
        return await self._asked("GET", url_of(self.base_url, path), None)

    async def post(self, path: str, data: Mapping[str, Any]) -> Any:
        return read_json(await self._asked("POST", url_of(self.base_url, path), json.dumps(data).encode()))

    async def upload(self, path: str, lines: bytes) -> Any:
        def form() -> aiohttp.FormData:
            made = aiohttp.FormData({"purpose": "batch"})
            made.add_field("file", lines, filename="calls.jsonl", content_type="application/jsonl")
            return made

        return read_json(await self._asked("POST", url_of(self.base_url, path), form))

    async def close(self) -> None:
        await self._http.close()

    async def _asked(self, method: str, url: str, body: Any) -> bytes:
        patience = Patience(self._patience_s)
        headers = self._headers
        if callable(body):
            headers = {name: value for name, value in headers.items() if name != "content-type"}
        while True:
            try:
                return _checked(url, await self._http.request(method, url, headers, body() if callable(body) else body))
            except Unusable as error:
                raise ModelRefused(f"{url} cannot be asked: {error}") from error
            except (Transient, Dropped) as error:
                patience.failed()
                if patience.ended:
                    raise ModelUnavailable(f"no answer from {url}: {error}; resume with `pop run DIR`") from error
                waited = error if isinstance(error, Transient) else Transient(str(error))
                await asyncio.sleep(patience.wait_s(waited))


def _checked(url: str, response: Response) -> bytes:
    if 200 <= response.status < 300:
        return response.body
    error = read_error(response, {})
    assert error is not None  # no other status than 2xx is without one
    if error.kind in (Kind.OVERLOAD, Kind.BROKEN):
        raise Transient.of(error)
    said = f"{url} answered HTTP {error.status}: {error.words}"
    if error.kind in (Kind.BAD_KEY, Kind.NO_MONEY):
        raise ModelRefused(f"{said}; check the key and its permissions")
    raise _NoBatches(said)


class _OpenAi:
    def __init__(self, web: _Web) -> None:
        self._web = web

    async def submit(self, calls: Mapping[str, Body]) -> str:
        endpoint = "/v1/chat/completions"
        lines = [{"custom_id": id_, "method": "POST", "url": endpoint, "body": body} for id_, body in calls.items()]
        file = await self._web.upload("/files", "\n".join(map(json.dumps, lines)).encode())
        asked = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
        return str((await self._web.post("/batches", asked))["id"])

    async def results(self, batch: str) -> dict[str, bytes] | None:
        state = read_json(await self._web.get(f"/batches/{batch}"))
        if state.get("status") not in _OVER:
            return None
        if not state.get("output_file_id"):
            return {}
        return {
            line["custom_id"]: json.dumps(line["response"]["body"]).encode()
            for line in _lines(await self._web.get(f"/files/{state['output_file_id']}/content"))
            if (line.get("response") or {}).get("status_code") == 200
        }


class _Anthropic:
    def __init__(self, web: _Web) -> None:
        self._web = web

    async def submit(self, calls: Mapping[str, Body]) -> str:
        requests = [{"custom_id": id_, "params": body} for id_, body in calls.items()]
        return str((await self._web.post("/messages/batches", {"requests": requests}))["id"])

    async def results(self, batch: str) -> dict[str, bytes] | None:
        state = read_json(await self._web.get(f"/messages/batches/{batch}"))
        if state.get("processing_status") != "ended":
            return None
        return {
            line["custom_id"]: json.dumps(line["result"]["message"]).encode()
            for line in _lines(await self._web.get(f"/messages/batches/{batch}/results"))
            if line["result"]["type"] == "succeeded"
        }


def _lines(body: bytes) -> list[Any]:
    return [read_json(line) for line in body.splitlines() if line.strip()]


def _api_of(config: EndpointModel, web: _Web) -> _Api:
    return _Anthropic(web) if dialect_of(config).name == "anthropic" else _OpenAi(web)


class BatchChatModel:
    """A ChatModel that sends its calls as batches. `single` answers what no batch did; `folder` keeps what is on its way."""

    def __init__(
        self, config: EndpointModel, single: EndpointChatModel, *, folder: Path | None = None, notice: Notice = _LOG.warning
    ) -> None:
        self._config, self._single, self._notice = config, single, notice
        self._dialect = dialect_of(config)
        self._parameters = single.parameters  # what single calls find out holds for the next batch
        self._web = _Web(config)
        self._api = _api_of(config, self._web)
        self._kept = _Kept(folder, hashlib.blake2b(f"{config.urls} {single.name}".encode(), digest_size=6).hexdigest())
        self._waiting: dict[str, Body] = {}
        self._replies: dict[str, asyncio.Future[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._collecting: asyncio.Task[None] | None = None
        self._begun = self._without = False

    @property
    def name(self) -> str:
        return self._single.name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request` by a batch, or by itself where that fails. Raises what the server's single calls raise."""
        self._begin()
        if self._without:
            return await self._single.complete(request)
        reply = await asyncio.shield(self._reply(self._id_of(request), self._parameters.body([request])))
        if reply is not None:
            try:
                read = self._dialect.read(reply, request.stop)
                opened, stopped = self._parameters.thinks(request.role), self._parameters.stops(request.role)
                return read.completions(request, opened=opened, stopped=stopped)[0]
            except Unreadable as error:
                self._notice(f"an answer in a batch cannot be read and is asked for again by a single call: {error}")
        return await self._single.complete(request)

    def _id_of(self, request: ChatRequest) -> str:
        """Return the same id for the same request in every session.

        Two that differ by their seeds are two, also where the server takes no seed, and what was learned about its parameters
        changes no id.
        """
        return hashlib.blake2b(repr((self.name, request)).encode("utf-8", "replace"), digest_size=16).hexdigest()

    async def close(self) -> None:
        for task in [*self._tasks, *([self._collecting] if self._collecting else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._kept.close()
        await self._web.close()
        await self._single.close()

    def _begin(self) -> None:
        """Take up the batches of an earlier session, once."""
        if not self._begun:
            self._begun = True
            for batch, ids in self._kept.batches().items():
                self._notice(f"batch {batch} of {len(ids)} calls is resumed")
                for id_ in ids:
                    self._replies[id_] = asyncio.get_running_loop().create_future()
                self._follow(batch, ids)

    def _reply(self, id_: str, body: Body) -> "asyncio.Future[bytes | None]":
        if id_ not in self._replies:
            self._replies[id_] = asyncio.get_running_loop().create_future()
            self._waiting[id_] = body
            if self._collecting is None or self._collecting.done():
                self._collecting = asyncio.create_task(self._collect())
        return self._replies[id_]

    async def _collect(self) -> None:
        """Send what waits as soon as no more calls come, or as many as one batch holds."""
        known = 0
        while self._waiting:
            while known < len(self._waiting) < _MOST_CALLS:
                known = len(self._waiting)
                await asyncio.sleep(_QUIET_S)
            known = 0
            await self._send(self._next())

    def _next(self) -> dict[str, Body]:
        """Take the next batch from what waits."""
        batch: dict[str, Body] = {}
        size = 0
        for id_ in list(self._waiting)[:_MOST_CALLS]:
            size += len(json.dumps(self._waiting[id_]))
            if batch and size > _MOST_BYTES:
                break
            batch[id_] = self._waiting.pop(id_)
        return batch

    async def _send(self, calls: dict[str, Body]) -> None:
        try:
            batch = await self._api.submit(calls)
        except (_NoBatches, Unreadable, KeyError, TypeError, AttributeError) as error:
            self._without = True
            self._notice(f"no batches: {error}; from now on calls are sent one by one, at the full price")
            self._settle(calls, {})
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._fail(calls, error)
        else:
            try:
                self._kept.keep(batch, list(calls))
            except OSError as error:
                self._notice(f"batch {batch} cannot be written down ({error}): should the run be killed, it is paid for twice")
            self._notice(f"batch {batch} of {len(calls)} calls is sent")
            self._follow(batch, list(calls))

    def _follow(self, batch: str, ids: Sequence[str]) -> None:
        task = asyncio.create_task(self._until_done(batch, ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_done(self, batch: str, ids: Sequence[str]) -> None:
        found: dict[str, bytes] | None = None
        try:
            while (found := await self._api.results(batch)) is None:
                await asyncio.sleep(self._config.batch_poll_s)
        except (_NoBatches, Unreadable, KeyError, TypeError, AttributeError) as error:
            self._notice(f"batch {batch} is lost: {error}")
            found = {}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._fail(ids, error)
            return
        missing = sum(id_ not in found for id_ in ids)
        if missing:
            self._notice(f"batch {batch} left {missing} of {len(ids)} calls unanswered: they are sent one by one")
        self._kept.done(batch)
        self._settle(ids, found)

    def _settle(self, ids: Sequence[str] | Mapping[str, Any], found: Mapping[str, bytes]) -> None:
        for id_ in ids:
            if not self._replies[id_].done():
                self._replies[id_].set_result(found.get(id_))

    def _fail(self, ids: Sequence[str] | Mapping[str, Any], error: Exception) -> None:
        for id_ in ids:
            future = self._replies.pop(id_)
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen, also where nobody has asked for this call yet


class _Kept:
    """The batches on their way, each in a file of its own: its id, and the ids of its calls.

    The file of a batch that is done is removed when the model is closed, not at once: its answers are in the journal only a
    moment later, and a run that is killed in that moment reads them again.
    """

    def __init__(self, folder: Path | None, owner: str) -> None:
        self._folder, self._owner = folder, owner
        self._done: list[str] = []

    def batches(self) -> dict[str, list[str]]:
        """Return batch → calls, of earlier sessions."""
        found: dict[str, list[str]] = {}
        for path in sorted(self._folder.glob(f"batch-{self._owner}-*.json")) if self._folder else ():
            data = json.loads(path.read_text(encoding="utf-8"))
            found[data["batch"]] = data["calls"]
        return found

    def keep(self, batch: str, calls: list[str]) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(self._folder, batch)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps({"batch": batch, "calls": calls}), encoding="utf-8")
        scratch.replace(path)

    def done(self, batch: str) -> None:
        """Note that every call of `batch` has been settled."""
        self._done.append(batch)

    def close(self) -> None:
        """Remove the files of the batches that are done."""
        if self._folder is not None:
            for path in (self._path(self._folder, batch) for batch in self._done):
                if path.is_file():  # it could not be written, else
                    path.unlink()

    def _path(self, folder: Path, batch: str) -> Path:
        name = hashlib.blake2b(batch.encode(), digest_size=8).hexdigest()
        return folder / f"batch-{self._owner}-{name}.json"
