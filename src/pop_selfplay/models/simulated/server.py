"""Any ChatModel behind an OpenAI-compatible HTTP server, with HTTP faults on purpose. For tests and drills, not for production.

| route | what |
| --- | --- |
| POST /v1/chat/completions | `n` choices, one `stop` string, `max_tokens`, `seed`, `logprobs`; no streaming |
| GET /v1/models, GET /health | as other servers have them |
| GET /stats, POST /reset | statistics of a timed model (timed.py), and counts of requests and faults; begin them anew |

As with real servers the stop string is cut from the text. The request does not say which role it plays, so the role is guessed
from the tags that the prompt asks for.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from pop_selfplay.errors import UsageError, validation_text
from pop_selfplay.method.parsing import Form
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, Token
from pop_selfplay.models.simulated.timed import Fault, FaultDraw, HttpFaults, TimedChatModel
from pop_selfplay.records import Message, Role

__all__ = ["HttpFaults", "guess_role", "listening", "serving", "simulated_app"]

_START_TIMEOUT_S: Final = 10.0
_SHUTDOWN_TIMEOUT_S: Final = 0.1
_TURNS_TO_CONNECT: Final = 3  # of the event loop, from an accepted socket to a connection
_MAX_BODY_BYTES: Final = 1 << 28
_SEEDS_APART: Final = 1_000_003
_CRASHED: Final = 70
_ONLY: Final = re.compile(r'^root ::=\s*\("([^"]+)"\)\s*$', re.MULTILINE)
"""The start of a grammar that allows one text."""
_SOME_FORM: Final = Form(())
"""The request does not say which form its grammar is of; the simulated model writes well-formed texts for any."""

Grammars = Literal["honoured", "ignored", "refused"]


class _NamedSchema(BaseModel):
    schema_: dict[str, object] = Field(alias="schema")


class _ResponseFormat(BaseModel):
    type: Literal["json_schema"]
    json_schema: _NamedSchema


class _ChatBody(BaseModel):
    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = Field(1024, ge=1, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    n: int = Field(1, ge=1, le=1024)
    response_format: _ResponseFormat | None = None
    structured_outputs: dict[str, object] | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)


def simulated_app(
    model: ChatModel, *, faults: HttpFaults | None = None, api_key: str | None = None, grammars: Grammars = "honoured"
) -> web.Application:
    """Return an app that serves `model` under its own name. With `api_key`, other keys are refused with 401.

    `grammars` says what becomes of a grammar in `structured_outputs`, the field that vLLM has for it.
    """
    service = _Service(model, faults or HttpFaults(), api_key, grammars)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/v1/chat/completions", service.chat),
            web.get("/v1/models", service.models),
            web.get("/health", service.health),
            web.get("/stats", service.stats),
            web.post("/reset", service.reset),
        ]
    )
    return app


class _Service:
    def __init__(self, model: ChatModel, faults: HttpFaults, api_key: str | None, grammars: Grammars) -> None:
        self._model, self._faults, self._api_key, self._grammars = model, faults, api_key, grammars
        self._draw = FaultDraw(faults)
        self._counts: Counter[str] = Counter()
        self._arrived = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self._arrived += 1
        self._counts["requests"] += 1
        if self._faults.crash_after is not None and self._arrived > self._faults.crash_after:
            os._exit(_CRASHED)
        fault = self._draw.fault(body)
        if fault is not None:
            self._counts[fault] += 1
        if fault in ("error", "rate_limit", "drop_before"):
            return await self._fail(request, fault)
        if self._api_key is not None and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return _error(401, "invalid_api_key", "Incorrect API key provided")
        try:
            asked = _ChatBody.model_validate_json(body)
        except ValidationError as error:
            return _error(400, "invalid_request_error", validation_text(error))
        if asked.model != self._model.name:
            return _error(404, "model_not_found", f"The model `{asked.model}` does not exist")
        stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or [""]
        if asked.stream or len(stops) > 1:
            return _error(400, "invalid_request_error", "this server does not stream, and knows one stop string")
        if asked.structured_outputs and self._grammars == "refused":
            return _error(400, "invalid_request_error", "structured_outputs is not supported by this server")
        completions = await self._completions(asked, stops[0])
        if fault is not None:
            return await self._fail(request, fault)
        return _json(_reply(self._model.name, completions, stops[0]))

    async def _completions(self, asked: _ChatBody, stop: str) -> list[Completion]:
        first = ChatRequest(
            # Probabilities are only ever asked of the judge, whose prompt then names no tag.
            role=Role.JUDGE if asked.logprobs else guess_role(asked.messages),
            messages=tuple(asked.messages),
            temperature=asked.temperature,
            top_p=asked.top_p,
            max_tokens=asked.max_tokens,
            seed=asked.seed or 0,
            stop=stop,
            schema=asked.response_format.json_schema.schema_ if asked.response_format else None,
            top_logprobs=asked.top_logprobs if asked.logprobs else 0,
        )
        if asked.structured_outputs and self._grammars == "honoured":
            only = _ONLY.search(str(asked.structured_outputs.get("grammar")))
            if only:
                return [Completion(only[1], "stop", 1, 1)]
            first = replace(first, form=_SOME_FORM)
        if asked.n == 1:
            return [await self._model.complete(first)]
        choices = [replace(first, seed=first.seed + number * _SEEDS_APART) for number in range(asked.n)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._model.complete(choice)) for choice in choices]
        return [task.result() for task in tasks]

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault == "error":
            return _error(500, "server_error", "simulated failure")
        if fault == "rate_limit":
            limited = _error(429, "rate_limit_exceeded", "simulated rate limit")
            limited.headers["retry-after"] = str(self._faults.retry_after_s)
            return limited
        # Promise a body, then hang up: the client sees a connection that ended in the middle of the response.
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def models(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [{"id": self._model.name, "object": "model"}]})

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def stats(self, request: web.Request) -> web.Response:
        timed = self._model.statistics() if isinstance(self._model, TimedChatModel) else {}
        counts = {name: self._counts[name] for name in ("requests", "error", "rate_limit", "drop_before", "drop_after")}
        return _json({**counts, **timed})

    async def reset(self, request: web.Request) -> web.Response:
        self._counts.clear()
        if isinstance(self._model, TimedChatModel):
            self._model.forget()
        return _json({})


def guess_role(messages: Sequence[Message]) -> Role:
    """Return the role whose tags the system message (or, without one, the whole conversation) asks for."""
    system = [message.content for message in messages if message.role == "system"]
    text = "\n".join(system or [message.content for message in messages])
    if any(tag in text for tag in ("<evaluation>", "<better_answer>", "<rating_A>")):
        return Role.JUDGE
    if "<rubric>" in text:
        return Role.RUBRIC_WRITER
    return Role.PROPOSER if "<problem>" in text and "<answer>" in text else Role.SOLVER


@contextlib.asynccontextmanager
async def listening(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve `app` while the block runs, and yield the base URL (up to and including /v1).

    Port 0 takes a free one. Raises OSError when the address cannot be had, for example on a port in use.
    """
    # A client that hangs up cancels its handler, and so frees the slot it had.
    # Whoever still waits at the end is cut off: a slow simulated answer may be hours away (and 0 would mean: wait for it).
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, keepalive_timeout=3600, shutdown_timeout=_SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    loop = asyncio.get_running_loop()
    try:
        assert runner.server is not None
        server = await loop.create_server(runner.server, host, port, backlog=4096)
        try:
            yield f"http://{host}:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            await _accept_no_more(server)
            server.close()
    finally:
        await runner.cleanup()


async def serve_until_interrupted(app: web.Application, host: str, port: int, what: str, tell: Callable[[str], None]) -> None:
    """Serve `app` until Ctrl-C; `tell` hears where, and `what`. Raises UsageError when the address cannot be had."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, ended.set)
    try:
        async with listening(app, host=host, port=port) as base_url:
            tell(f"serving {base_url}: {what}; figures at {base_url.removesuffix('/v1')}/stats, Ctrl-C stops it")
            await ended.wait()
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port} ({error.strerror}): use another --port, or 0 for any") from error


async def _accept_no_more(server: asyncio.Server) -> None:
    """Let nobody in any more, but have whoever just came become a connection: only those are closed with the server."""
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(_TURNS_TO_CONNECT):
        await asyncio.sleep(0)


@contextlib.contextmanager
def serving(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `app` from a thread while the block runs, and yield the base URL, as `listening` does.

    Raises RuntimeError when the server does not start.
    """
    started, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()
    found: list[str | OSError] = []

    async def run() -> None:
        try:
            async with listening(app, host=host, port=port) as base_url:
                found.append(base_url)
                started.set()
                await ended.wait()
        except OSError as error:
            found.append(error)
            started.set()

    def body() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=body, name="simulated-server", daemon=True)
    thread.start()
    try:
        if not started.wait(_START_TIMEOUT_S) or not isinstance(found[0], str):
            raise RuntimeError(f"the simulated server did not start on {host}:{port}: is the port in use? {found}")
        yield found[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)
        thread.join(_START_TIMEOUT_S)


def _json(data: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(data).encode(), status=status, content_type="application/json")


def _error(status: int, code: str, message: str) -> web.Response:
    return _json({"error": {"message": message, "type": code, "code": code}}, status)


def _logprobs(tokens: Sequence[Token]) -> dict[str, object] | None:
    if not tokens:
        return None
    content = [
        {
            "token": token.text,
            "logprob": dict(token.alternatives).get(token.text, -9999.0),
            "top_logprobs": [{"token": text, "logprob": logprob} for text, logprob in token.alternatives],
        }
        for token in tokens
    ]
    return {"content": content}


def _reply(name: str, completions: Sequence[Completion], stop: str) -> dict[str, object]:
    prompt, generated = completions[0].prompt_tokens, sum(completion.generated_tokens for completion in completions)
    return {
        "object": "chat.completion",
        "model": name,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": completion.text.removesuffix(stop)},
                "finish_reason": completion.finish_reason,
                "logprobs": _logprobs(completion.tokens),
            }
            for index, completion in enumerate(completions)
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": completions[0].cached_tokens},
        },
    }
