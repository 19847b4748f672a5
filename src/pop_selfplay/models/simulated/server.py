"""Any ChatModel behind an OpenAI-compatible HTTP server, with HTTP faults on purpose. For tests and drills, not for production.

Routes: POST /v1/chat/completions (no streaming, n = 1), GET /v1/models, GET /health. As with real servers the stop string is
cut from the text. The request does not say which role it plays, so the role is guessed from the tags that the prompt asks for.
"""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, Token
from pop_selfplay.records import Message, Role

_START_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class HttpFaults:
    """Shares of requests that fail. Which ones follows from the seed, the body and how often that body came before."""

    seed: int = 0
    error_rate: float = 0.0
    rate_limit_rate: float = 0.0
    retry_after_s: int = 1
    drop_rate: float = 0.0


class _ChatBody(BaseModel):
    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    stop: str | list[str] | None = None
    stream: bool = False
    n: int = 1
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)


class _Dropped(Response):
    """Promise a body, then hang up: the client sees a connection that ended in the middle of the response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


def simulated_app(model: ChatModel, *, faults: HttpFaults | None = None, api_key: str | None = None) -> Starlette:
    """Return an ASGI app that serves `model` under its own name. With `api_key`, other keys are refused with 401."""
    seen: Counter[bytes] = Counter()

    async def chat(request: Request) -> Response:
        body = await request.body()
        seen[body] += 1
        fault = _fault(faults, body, seen[body]) if faults else None
        if fault is not None:
            return fault
        if api_key is not None and request.headers.get("authorization") != f"Bearer {api_key}":
            return _error(401, "invalid_api_key", "Incorrect API key provided")
        try:
            asked = _ChatBody.model_validate_json(body)
        except ValidationError as error:
            return _error(400, "invalid_request_error", str(error.errors(include_url=False)[0]["msg"]))
        if asked.model != model.name:
            return _error(404, "model_not_found", f"The model `{asked.model}` does not exist")
        if asked.stream or asked.n != 1:
            return _error(400, "invalid_request_error", "this server neither streams nor answers n > 1")
        stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or [""]
        completion = await model.complete(
            ChatRequest(
                # Probabilities are only ever asked of the judge, whose prompt then names no tag.
                role=Role.JUDGE if asked.logprobs else guess_role(asked.messages),
                messages=tuple(asked.messages),
                temperature=asked.temperature,
                top_p=asked.top_p,
                max_tokens=asked.max_tokens,
                seed=asked.seed,
                stop=stop[0],
                top_logprobs=asked.top_logprobs if asked.logprobs else 0,
            )
        )
        return JSONResponse(_reply(model.name, completion, stop[0]))

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": model.name, "object": "model"}]})

    async def health(request: Request) -> Response:
        return Response()

    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/v1/chat/completions", chat, "POST"),
        ("/v1/models", models, "GET"),
        ("/health", health, "GET"),
    ]
    return Starlette(routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in routes])


def guess_role(messages: list[Message]) -> Role:
    """Return the role whose tags the system message (or, without one, the whole conversation) asks for."""
    system = [message.content for message in messages if message.role == "system"]
    text = "\n".join(system or [message.content for message in messages])
    if "<evaluation>" in text:
        return Role.JUDGE
    if "<rubric>" in text:
        return Role.RUBRIC_WRITER
    return Role.PROPOSER if "<problem>" in text and "<answer>" in text else Role.SOLVER


def serve(app: Starlette, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve `app` until interrupted."""
    uvicorn.run(app, host=host, port=port, log_level="critical")


@contextlib.contextmanager
def serving(app: Starlette, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `app` from a thread while the block runs, and yield the base URL (up to and including /v1).

    Port 0 takes a free one. Raises RuntimeError when the server does not start, for example on a port in use.
    """
    # Dropped connections are meant here; uvicorn would log each one as an error of the app.
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="critical", lifespan="off"))
    started = threading.Event()

    async def announce() -> None:
        while not server.started:
            await asyncio.sleep(0.005)
        started.set()

    async def run() -> None:
        announcing = asyncio.create_task(announce())
        await server.serve()
        announcing.cancel()

    def body() -> None:
        # uvicorn leaves with sys.exit when it cannot bind; the caller learns that from `server.started`.
        with contextlib.suppress(SystemExit):
            asyncio.run(run())
        started.set()

    thread = threading.Thread(target=body, name="simulated-server", daemon=True)
    thread.start()
    try:
        if not started.wait(_START_TIMEOUT_S) or not server.started:
            raise RuntimeError(f"the simulated server did not start on {host}:{port}: is the port in use?")
        bound = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{host}:{bound}/v1"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(_START_TIMEOUT_S)


def _fault(faults: HttpFaults, body: bytes, attempt: int) -> Response | None:
    draw = random.Random(f"{faults.seed} {attempt} {body.hex()}").random()
    if draw < faults.error_rate:
        return _error(500, "server_error", "simulated failure")
    draw -= faults.error_rate
    if draw < faults.rate_limit_rate:
        limited = _error(429, "rate_limit_exceeded", "simulated rate limit")
        limited.headers["retry-after"] = str(faults.retry_after_s)
        return limited
    return _Dropped() if draw - faults.rate_limit_rate < faults.drop_rate else None


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": code, "code": code}}, status_code=status)


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any] | None:
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


def _reply(name: str, completion: Completion, stop: str) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": completion.text.removesuffix(stop)},
                "finish_reason": completion.finish_reason,
                "logprobs": _logprobs(completion.tokens),
            }
        ],
        "usage": {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.generated_tokens,
            "total_tokens": completion.prompt_tokens + completion.generated_tokens,
            "prompt_tokens_details": {"cached_tokens": completion.cached_tokens},
        },
    }
