"""Any OpenAI-compatible chat server, over HTTP: one bounded client that waits out what heals and says at once what does not.

| what happens | what we do |
| --- | --- |
| 408, 425, 429, 5xx, dropped connection, time-out, unreadable reply | try again until `patience_s` after the first failure |
| … and patience ends | ModelUnavailable; RequestRefused if the server fails on this call alone |
| 400, 413, 422 | RequestRefused; ModelRefused if it is not about length or content and nothing was ever answered |
| 401, 403, 404 and the rest | ModelRefused |

Only the plain parameters are sent (one choice a call, no streaming, no server's own extensions), so any such server will do.
"""

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2
from pydantic import BaseModel, Field, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.models.base import ChatRequest, Completion, Token

_LOG: Final = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S: Final = 30.0
_HEALS: Final = frozenset({408, 425, 429})
_ABOUT_THE_REQUEST: Final = frozenset({400, 413, 422})
_LENGTH_OR_CONTENT: Final = re.compile(r"context|too (?:long|large|many)|length|maximum|max_tokens|content|policy|filter", re.I)
_SEED_RANGE: Final = 2**31 - 1
_NO_LOGPROBS: Final = (
    "synthesis.scoring logprob needs them: lower synthesis.logprob.top if that many are too many, use a server "
    "that returns them (vLLM, SGLang, llama.cpp), or score pointwise"
)


class EndpointChatModel:
    """A ChatModel behind `config.base_url`. `transport` replaces the network, for tests."""

    def __init__(
        self, config: EndpointModel, *, name: str | None = None, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """Make the client; nothing is sent yet. Raises ModelRefused for an unusable address or a missing key."""
        self._config = config
        self._name = name or config.model
        self._url = _chat_url(config.base_url)
        self._slots = asyncio.Semaphore(config.max_in_flight)
        self._answered_at = float("-inf")
        self._unreachable = False
        self._gives_logprobs = False
        # The semaphore is the only bound, and it counts waiting for a retry, too: a struggling server gets no new calls.
        self._client = httpx2.AsyncClient(
            headers={"content-type": "application/json", **_authorization(config)},
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=config.max_in_flight),
            timeout=httpx2.Timeout(config.timeout_s, connect=min(_CONNECT_TIMEOUT_S, config.timeout_s)),
            transport=transport,
        )

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Token counts are the server's; 0 where it reports none.

        Raises ModelRefused, RequestRefused or ModelUnavailable as the table at the top of this module says.
        """
        body = json.dumps(_payload(self._config.model, request)).encode()
        patience = _Patience(self._config.patience_s)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Transient), wait=patience.wait, stop=patience.stop, reraise=True
        )
        async with self._slots:
            try:
                reply: _Reply = await retrying(self._post, body)
            except _Transient as error:
                raise self._out_of_patience(error, patience) from error
            except RequestRefused as error:
                if request.top_logprobs and not self._gives_logprobs and "logprob" in str(error).lower():
                    raise ModelRefused(f"{error}; {_NO_LOGPROBS}") from error
                raise
        if request.top_logprobs:
            if reply.choices[0].logprobs is None or reply.choices[0].logprobs.content is None:
                raise ModelRefused(f"{self._url} answers without logprobs; {_NO_LOGPROBS}")
            self._gives_logprobs = True
        return _completion(reply, request.stop)

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, body: bytes) -> "_Reply":
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await self._client.post(self._url, content=body)
        except TimeoutError as error:
            raise _Transient(f"no answer within {self._config.timeout_s:g} s") from error
        except httpx2.RequestError as error:
            self._note_unreachable(isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)))
            raise _Transient(f"{type(error).__name__}: {error}") from error
        self._note_unreachable(False)
        if response.status_code != 200:
            raise self._failure(response)
        try:
            reply = _Reply.model_validate_json(response.content)
        except ValidationError as error:
            raise _Transient(f"unreadable reply: {response.text[:200]!r}", from_model=True) from error
        self._answered_at = time.monotonic()
        return reply

    def _failure(self, response: httpx2.Response) -> Exception:
        status, words = response.status_code, _words(response)
        if status in _HEALS or status >= 500:
            return _Transient(f"HTTP {status}: {words}", _retry_after_s(response.headers), from_model=status == 500)
        if status in _ABOUT_THE_REQUEST and (self._answered_at > 0 or _LENGTH_OR_CONTENT.search(words)):
            return RequestRefused(f"{self._url} refused this request with HTTP {status}: {words}")
        advice = {
            401: f"check the key in the environment variable {self._config.api_key_env}",
            403: f"check what the key in {self._config.api_key_env} may do",
            404: f"check model.base_url, and that the server knows the model {self._config.model!r}",
        }.get(status, "check model.base_url and model.model")
        return ModelRefused(f"{self._url} answered HTTP {status}: {words}; {advice}")

    def _note_unreachable(self, unreachable: bool) -> None:
        """Say once that the server is down, and once that it is back: a run that waits must not look hung."""
        if unreachable and not self._unreachable:
            _LOG.warning("%s cannot be reached; waiting up to %g s for it", self._url, self._config.patience_s)
        elif self._unreachable and not unreachable:
            _LOG.warning("%s can be reached again", self._url)
        self._unreachable = unreachable

    def _out_of_patience(self, error: "_Transient", patience: "_Patience") -> ModelUnavailable | RequestRefused:
        tried = f"{self._url}: {patience.attempts} tries in {patience.spent_s:.1f} s; the last one: {error}"
        if error.from_model and time.monotonic() - self._answered_at < patience.spent_s / 2:
            # It answered others well into our waiting: a request on which a healthy server always fails must not end the run,
            # now and again at every resume.
            return RequestRefused(f"the server answers others but never this request. {tried}")
        return ModelUnavailable(
            f"no answer from {tried}. Finished work is kept: when the server is back, resume with `pop run DIR`, "
            "or raise model.patience_s"
        )


class _Transient(Exception):
    """A failure that another try may heal.

    `retry_after_s` is how long the server asked us to wait, `from_model` that it was reached and failed on this very call.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, *, from_model: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.from_model = from_model


class _Patience:
    """When to try one call again: jittered exponential back-off within `patience_s` of its first failure.

    The last wait is cut so that the last try comes as patience ends, whatever back-off or Retry-After say.
    """

    _back_off = wait_random_exponential(multiplier=0.5, max=30)

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.since = float("inf")
        self.attempts = 0

    @property
    def spent_s(self) -> float:
        return max(0.0, time.monotonic() - self.since)

    def stop(self, state: RetryCallState) -> bool:
        self.attempts = state.attempt_number
        self.since = min(self.since, time.monotonic())
        return self.spent_s >= self._patience_s

    def wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, _Transient) else 0.0
        # Jitter comes on top of Retry-After: else all callers that were refused together come back together.
        return min(asked + self._back_off(state), max(0.0, self._patience_s - self.spent_s))


class _ReplyMessage(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def text(self) -> str:
        """All that the model wrote. Servers with a reasoning parser split it in two; pairs for training need it whole."""
        reasoning, content = self.reasoning_content or self.reasoning, self.content or ""
        return f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content


class _Likely(BaseModel):
    token: str
    logprob: float


class _TokenLogprobs(_Likely):
    top_logprobs: list[_Likely] = []


class _Logprobs(BaseModel):
    content: list[_TokenLogprobs] | None = None


class _Choice(BaseModel):
    message: _ReplyMessage
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    def tokens(self) -> tuple[Token, ...]:
        """Every generated token with its alternatives, the token itself among them; some servers list only others."""
        content = self.logprobs.content if self.logprobs else None
        return tuple(
            Token(
                at.token,
                tuple(
                    (text, p)
                    for text, p in (
                        {at.token: at.logprob} | {likely.token: likely.logprob for likely in at.top_logprobs}
                    ).items()
                ),
            )
            for at in content or ()
        )


class _CachedTokens(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _CachedTokens | None = None


class _Reply(BaseModel):
    """The part of a chat completion that we read."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _chat_url(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url.rstrip("/") + "/chat/completions")
    except httpx2.InvalidURL as error:
        raise ModelRefused(f"model.base_url {base_url!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelRefused(f"model.base_url {base_url!r} must look like http://localhost:8000/v1")
    return url


def _authorization(config: EndpointModel) -> dict[str, str]:
    if config.api_key_env is None:
        return {}
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ModelRefused(
            f"the environment variable {config.api_key_env} (model.api_key_env) is not set: export the key in it"
        )
    return {"authorization": f"Bearer {key}"}


def _payload(model: str, request: ChatRequest) -> dict[str, Any]:
    schema = {"name": request.role.value, "schema": request.schema, "strict": True}
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        # Our seeds have up to 63 bits, servers take 31. Modulo a Mersenne prime, every bit of ours still counts.
        "seed": request.seed % _SEED_RANGE,
        **({"stop": [request.stop]} if request.stop else {}),
        **({"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
        **({"response_format": {"type": "json_schema", "json_schema": schema}} if request.schema else {}),
    }


def _completion(reply: _Reply, stop: str) -> Completion:
    choice, usage = reply.choices[0], reply.usage or _Usage()
    text = choice.message.text()
    if stop and choice.finish_reason == "stop" and _is_open(text, stop):
        # Servers cut the stop string off. That ours was hit shows in the tag that it closes being open at the end; asking the
        # server to keep it would need an extension (vLLM's include_stop_str_in_output) that others refuse or ignore.
        text += stop
    details = usage.prompt_tokens_details
    return Completion(
        text=text,
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        prompt_tokens=usage.prompt_tokens,
        generated_tokens=usage.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
        tokens=choice.tokens(),
    )


def _is_open(text: str, closing: str) -> bool:
    return text.rfind(closing.replace("</", "<", 1)) > text.rfind(closing)


def _words(response: httpx2.Response) -> str:
    """The server's own words about an error: {"error": {"message": …}}, {"message": …} or {"detail": …}, else the body."""
    try:
        data: Any = response.json()
    except ValueError:
        data = None
    if isinstance(data, dict):
        inner = data.get("error", data)
        found = inner if isinstance(inner, str) else None
        if isinstance(inner, dict):
            found = next((inner[key] for key in ("message", "detail") if inner.get(key)), None)
        if found is not None:
            return str(found)[:500]
    return response.text[:500] or "(no body)"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds asked for by Retry-After, which holds seconds or a date; 0 where it is missing or unreadable."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
