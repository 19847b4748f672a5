"""Any OpenAI-compatible chat server, or several replicas: a client that waits out what heals and says at once what does not.

| file | what |
| --- | --- |
| http.py | one POST, and the seam for tests |
| wire.py | requests as JSON, replies as completions |
| retrying.py | which failures heal, how long one waits, what is said of the others |
| servers.py | replicas: which one a call goes to, which of them are down |
| several.py | whether the server answers several requests in one call (`n`) |
| ../scheduler.py, ../limits.py | who may send next, and how much at a time |

Only the plain parameters are sent (no streaming, no server's own extensions), so any such server will do.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.models.base import ChatRequest, Completion, Notice
from pop_selfplay.models.endpoint.http import Dropped, HttpClient, Send
from pop_selfplay.models.endpoint.n_support import Several
from pop_selfplay.models.endpoint.retrying import BadRequest, Patience, Transient, failure
from pop_selfplay.models.endpoint.servers import Server, Servers
from pop_selfplay.models.endpoint.wire import Reply, payload
from pop_selfplay.models.limits import Grant, Limits
from pop_selfplay.models.scheduler import Places, Priority, Scheduler
from pop_selfplay.records import Role

_LOG: Final = logging.getLogger(__name__)
_NO_LOGPROBS: Final = (
    "synthesis.scoring logprob needs them: lower synthesis.logprob.top if that many are too many, use a server "
    "that returns them (vLLM, SGLang, llama.cpp), or score pointwise"
)
_CHARACTERS_PER_TOKEN: Final = 4
_TOKENS_BEFORE_ANY_ANSWER: Final = 500.0


class EndpointChatModel:
    """A ChatModel behind the config's servers. `send` replaces the network, for tests; `notice` is told of servers down."""

    def __init__(
        self, config: EndpointModel, *, name: str | None = None, send: Send | None = None, notice: Notice = _LOG.warning
    ) -> None:
        """Make the client; nothing is sent yet. Raises ModelRefused for an unusable address or a missing key."""
        self._config, self._name, self._notice = config, name or config.model, notice
        self._headers = {"content-type": "application/json", **_authorization(config)}
        self._servers = Servers([Server(_chat_url(url), Scheduler(_limits(config))) for url in config.urls])
        self._places = Places()
        self._several = Several(config.n, notice)
        self._gives_logprobs = False
        self._generated: dict[Role, float] = {}
        self._http = HttpClient(config.timeout_s)
        self._send: Send = send or self._http.post

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Token counts are the server's; 0 where it reports none.

        Raises ModelRefused, RequestRefused or ModelUnavailable as the table in retrying.py says.
        """
        try:
            reply = await self._reply([request])
        except BadRequest as error:
            if request.top_logprobs and not self._gives_logprobs and "logprob" in str(error).lower():
                raise ModelRefused(f"{error.url} answered HTTP {error.status}: {error}; {_NO_LOGPROBS}") from error
            raise error.as_error(has_answered=self._servers.answered_at > float("-inf")) from None
        if request.top_logprobs:
            if not reply.gives_logprobs:
                raise ModelRefused(f"{self._name} answers without logprobs; {_NO_LOGPROBS}")
            self._gives_logprobs = True
        self._learn(request.role, reply)
        return reply.completions(request)[0]

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer `requests`, which differ only by their seeds, in one call; None where the server takes one at a time."""
        if len(requests) < 2 or not await self._several.honoured(self._reply):
            return None
        try:
            reply = await self._reply(requests)
        except BadRequest as error:
            # If it was about the prompt and not about the number, the single calls that follow will be told so, too.
            self._several.refused(len(requests), str(error))
            return None
        if len(reply.choices) != len(requests):
            self._several.failed(len(requests), f"it gave {len(reply.choices)} answers")
            return None
        self._learn(requests[0].role, reply)
        return reply.completions(requests[0])

    async def close(self) -> None:
        for server in self._servers:
            server.queue.close()
        await self._http.close()

    async def _reply(self, requests: Sequence[ChatRequest]) -> Reply:
        """Return the server's answer to one call for all of `requests`. Raises BadRequest besides what `complete` raises."""
        first = requests[0]
        body = json.dumps(payload(self._config.model, requests)).encode()
        priority = self._places.priority(first.group, first.role)
        tokens = len(body) / _CHARACTERS_PER_TOKEN + len(requests) * self._expected(first)
        patience = Patience(self._config.patience_s)
        while True:
            server = self._servers.choose(first.group)
            reply = await self._from(server, body, priority, len(requests), tokens, patience)
            if reply is not None:
                return reply

    async def _from(
        self, server: Server, body: bytes, priority: Priority, weight: int, tokens: float, patience: Patience
    ) -> Reply | None:
        """Return the answer of `server`, trying again while that may help; None when another server should be asked."""
        seemed_up = not server.down
        # A call keeps its place in flight while it waits to be tried again: a struggling server gets no new calls.
        async with server.queue.turn(priority, weight, tokens) as grant:
            if seemed_up and server.down and self._servers.others_up(server):
                return None  # it went down while this call waited
            while True:
                try:
                    return await self._try(server, body, grant)
                except Transient as error:
                    patience_ended = patience.failed()
                    if server.down and self._servers.others_up(server):
                        return None
                    if patience_ended:
                        raise self._out_of_patience(server, error, patience) from error
                    await server.wait(patience.wait_s(error))
                    await server.queue.again(grant)

    async def _try(self, server: Server, body: bytes, grant: Grant) -> Reply:
        limits = server.queue.limits
        try:
            response = await self._send(server.url, self._headers, body)
        except Dropped as error:
            if error.unreachable:
                self._note_absence(server, unreachable=True)
            raise Transient(str(error)) from error
        if response.status != 200:
            failed = failure(server.url, response, self._config.model, self._config.api_key_env)
            if isinstance(failed, Transient) and failed.throttled:
                # However long it asks for, the last try comes as patience ends.
                limits.throttled(grant, min(failed.retry_after_s, self._config.patience_s))
            if isinstance(failed, Transient) and failed.absent:
                self._note_absence(server, unreachable=False)
            raise failed
        try:
            reply = Reply.model_validate_json(response.body)
        except ValidationError as error:
            raise Transient(f"unreadable reply: {response.body[:200]!r}", from_model=True) from error
        if server.answered(grant.sent_at):
            self._notice(f"{server.url} answers again")
        limits.answered(grant, reply.cost)
        return reply

    def _note_absence(self, server: Server, *, unreachable: bool) -> None:
        """Say once that the server is down: a run that waits must not look hung."""
        if server.absent(unreachable=unreachable):
            what = "cannot be reached" if unreachable else "is not ready"
            then = f"paused, waiting up to {self._config.patience_s:g} s for it"
            others = self._servers.others_up(server)
            self._notice(f"{server.url} {what}; {'its calls go to the other servers' if others else then}")

    def _out_of_patience(self, server: Server, error: Transient, patience: Patience) -> ModelUnavailable | RequestRefused:
        tried = f"{server.url}: {patience.tries} tries in {patience.spent_s:.1f} s; the last one: {error}"
        if error.from_model and time.monotonic() - self._servers.answered_at < patience.spent_s / 2:
            # It answered others well into our waiting: a request on which a healthy server always fails must not end the run,
            # now and again at every resume.
            return RequestRefused(f"the server answers others but never this request. {tried}")
        return ModelUnavailable(
            f"no answer from {tried}. Finished work is kept: when the server is back, resume with `pop run DIR`, "
            "or raise model.patience_s"
        )

    def _expected(self, request: ChatRequest) -> float:
        """How many tokens one completion of the role will cost, by the mean of those before."""
        return min(float(request.max_tokens), self._generated.get(request.role, _TOKENS_BEFORE_ANY_ANSWER))

    def _learn(self, role: Role, reply: Reply) -> None:
        if reply.usage is not None:
            each = reply.usage.completion_tokens / len(reply.choices)
            self._generated[role] = 0.95 * self._generated.get(role, each) + 0.05 * each


def _limits(config: EndpointModel) -> Limits:
    return Limits(
        config.max_in_flight,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )


def _chat_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ModelRefused(f"model.base_url {base_url!r} is not a URL: {error}") from error
    if not usable:
        raise ModelRefused(f"model.base_url {base_url!r} must look like http://localhost:8000/v1")
    return base_url.rstrip("/") + "/chat/completions"


def _authorization(config: EndpointModel) -> dict[str, str]:
    if config.api_key_env is None:
        return {}
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ModelRefused(
            f"the environment variable {config.api_key_env} (model.api_key_env) is not set: export the key in it"
        )
    return {"authorization": f"Bearer {key}"}
