"""Any OpenAI-compatible chat server, or several replicas: a client that waits out what heals and says at once what does not.

| file | what |
| --- | --- |
| http.py | one POST, and the seam for tests |
| wire.py, reply.py | requests as JSON, replies as completions |
| dialects.py, anthropic.py | which of the two APIs is spoken, and Anthropic's own |
| batch.py | calls sent as batches, which cost less and take longer |
| parameters.py | which parameters the server takes, as configured and as found out |
| errors.py | what a server's refusal means: one table |
| servers.py | replicas: which one a call goes to, which of them are down |
| ../scheduler.py | who may send next, and how much at a time |

Only the plain parameters are sent (no streaming, no server's own extensions), so any such server will do.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestBroken
from pop_selfplay.models.base import ChatRequest, Completion, Notice
from pop_selfplay.models.endpoint.dialects import dialect_of
from pop_selfplay.models.endpoint.errors import Kind, read_error
from pop_selfplay.models.endpoint.http import Dropped, HttpClient, Response, Send, Unusable
from pop_selfplay.models.endpoint.parameters import PROBE, FormSupport, NSupport, Parameters
from pop_selfplay.models.endpoint.reply import Reply, Unreadable
from pop_selfplay.models.endpoint.servers import Patience, Refused, Server, Servers, Transient, as_error
from pop_selfplay.models.endpoint.wire import url_of
from pop_selfplay.models.scheduler import Grant, Limits, Places, Scheduler
from pop_selfplay.records import Role

_LOG: Final = logging.getLogger(__name__)
_CHARACTERS_PER_TOKEN: Final = 4
_TOKENS_BEFORE_ANY_ANSWER: Final = 500.0
_READ_OF_PROMPT: Final = 0.9
"""Fewer tokens than this share of a prompt's words: the server has cut the prompt."""


class EndpointChatModel:
    """A ChatModel behind the config's servers. `send` replaces the network, for tests; `notice` is told of servers down."""

    def __init__(
        self,
        config: EndpointModel,
        *,
        name: str | None = None,
        send: Send | None = None,
        notice: Notice = _LOG.warning,
        opens_reasoning: bool = False,
    ) -> None:
        """Make the client; nothing is sent yet. `opens_reasoning`: the chat template is known to begin the reasoning.

        Raises ModelRefused for an unusable address, proxy or key.
        """
        self._config, self._name, self._notice = config, name or config.model, notice
        self._dialect = dialect_of(config)
        self._headers = self._dialect.headers(config)
        self._servers = Servers([Server(url_of(url, self._dialect.path), Scheduler(_limits(config))) for url in config.urls])
        self._places = Places()
        self._parameters = Parameters(config, self._dialect, notice)
        several = self._dialect.several and self._parameters.sends("n")
        self._n_support = NSupport(config.n if several else "never", notice)
        self._form_support = FormSupport(self._parameters, config.model, notice)
        self._given = set[str]()
        self._opened = False
        if opens_reasoning:
            self._expect_reasoning()
        self._generated: dict[Role, float] = {}
        self._told_of_cut_prompts = False
        self._http = HttpClient(config.timeout_s, round(config.max_reply_mb * 1e6))
        self._send: Send = send or self._http.post

    @property
    def name(self) -> str:
        return self._name

    @property
    def parameters(self) -> Parameters:
        """What is known of the parameters that the servers take."""
        return self._parameters

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request`. Token counts are the server's; 0 where it reports none.

        Raises ModelRefused, RequestRefused or ModelUnavailable as the table in errors.py says.
        """
        needed = _needed(request)
        await self._know_grammar(request)
        try:
            reply = await self._reply([request])
        except Refused as error:
            needs = self._parameters.needs(error.error)
            if needs and needed and needed not in self._given:
                raise ModelRefused(f"{error.url} answered HTTP {error.error.status}: {error}; {needs}") from error
            raise as_error(error, self._config, has_answered=self._servers.have_answered, needs=needs) from None
        if request.top_logprobs and not reply.gives_logprobs and needed not in self._given:  # else it is this reply's fault
            raise ModelRefused(f"{self._name} answers without logprobs; {self._parameters.why_needed('logprobs')}")
        self._given.add(needed)
        self._learn(request, reply)
        return self._completions(reply, request)[0]

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        """Answer `requests`, which differ only by their seeds, in one call; None where the server takes one at a time."""
        if len(requests) < 2 or not await self._n_support.honoured(self._reply):
            return None
        await self._know_grammar(requests[0])
        try:
            reply = await self._reply(requests)
        except Refused as error:
            # If it was about the prompt and not about the number, the single calls that follow will be told so, too.
            self._n_support.refused(len(requests), str(error))
            return None
        if len(reply.choices) != len(requests):
            self._n_support.failed(len(requests), f"it gave {len(reply.choices)} answers")
            return None
        self._n_support.answered()
        self._learn(requests[0], reply)
        return self._completions(reply, requests[0])

    async def constrains(self, role: Role) -> bool:
        """Tell whether the server decodes the role's answers by a grammar. Raises what `complete` raises, but refusals."""
        if self._opened or self._parameters.thinks(role):
            return False  # a draft amid the reasoning would be taken for the answer
        return await self._form_support.honoured(self._reply)

    async def _know_grammar(self, request: ChatRequest) -> None:
        """Find out how the server takes grammars: a resumed run only knows that it does, and asks for answers at once."""
        if request.form is not None:
            await self.constrains(request.role)

    def _completions(self, reply: Reply, request: ChatRequest) -> list[Completion]:
        if reply.leaves_reasoning and not self._opened:
            self._notice(
                f"the prompt of {self._config.model!r} opens its reasoning, and the server does not split it off: stop tags "
                "are no longer sent, since a draft may contain them, and an answer that never leaves its reasoning is refused"
            )
            self._expect_reasoning()
        opened = self._opened or self._parameters.thinks(request.role)
        return reply.completions(request, opened=opened, stopped=self._parameters.stops(request.role))

    def _expect_reasoning(self) -> None:
        self._opened = True
        self._parameters.leave_out("stop")

    async def close(self) -> None:
        for server in self._servers:
            server.queue.close()
        await self._http.close()

    async def _reply(self, requests: Sequence[ChatRequest]) -> Reply:
        """Return the server's answer to one call for all of `requests`. Raises Refused besides what `complete` raises."""
        while True:
            body = self._parameters.body(requests)
            try:
                return await self._answer(requests, body)
            except Refused as refused:
                if not self._parameters.learn(refused.error, body, requests):
                    raise

    async def _answer(self, requests: Sequence[ChatRequest], body: Mapping[str, Any]) -> Reply:
        call = _Call(requests, body, Patience(self._config.patience_s))
        tokens = len(call.sent) / _CHARACTERS_PER_TOKEN + len(requests) * self._expected(requests[0])
        while True:
            server = self._servers.choose(call.first.group)
            reply = await self._from(server, call, tokens)
            if reply is not None:
                return reply

    async def _from(self, server: Server, call: "_Call", tokens: float) -> Reply | None:
        """Return the answer of `server`, trying again while that may help; None when another server should be asked."""
        seemed_up = not server.down
        priority = self._places.priority(call.first.group, call.first.role)
        # A call keeps its place in flight while it waits to be tried again: a struggling server gets no new calls.
        async with server.queue.turn(priority, call.weight, tokens) as grant:
            if seemed_up and server.down and self._servers.others_up(server):
                return None  # it went down while this call waited
            while True:
                try:
                    return await self._try(server, call, grant)
                except Transient as error:
                    call.patience.failed()
                    if server.down and self._servers.others_up(server):
                        return None
                    await self._doubt(server, call, grant, error)
                    if call.patience.ended:
                        raise self._out_of_patience(server, error, call.patience) from error
                    await server.wait(call.patience.wait_s(error))
                    await server.queue.again(grant)

    async def _try(self, server: Server, call: "_Call", grant: Grant) -> Reply:
        limits = server.queue.limits
        try:
            response = await self._send(server.url, self._headers, call.sent)
            reply = self._read(server, response, call)
        except Unusable as error:
            if not self._servers.have_answered:
                raise ModelRefused(f"{server.url} cannot be asked: {error}") from error
            self._note_absence(server, str(error), unreachable=True)
            raise Transient(str(error), unreachable=True) from error
        except Dropped as error:
            if error.unreachable:
                self._note_absence(server, str(error), unreachable=True)
            raise Transient(str(error), unreachable=error.unreachable, from_model=error.broken) from error
        except Transient as error:
            if error.throttled:
                # However long it asks for, the last try comes as patience ends.
                limits.throttled(grant, min(error.retry_after_s, self._config.patience_s))
            if error.absent:
                self._note_absence(server, str(error), unreachable=False)
            raise
        if server.answered(grant.sent_at):
            self._notice(f"{server.url} answers again")
        limits.answered(grant, reply.cost)
        return reply

    def _read(self, server: Server, response: Response, call: "_Call") -> Reply:
        """Return the reply in `response`. Raises Refused or Transient where it is none."""
        error = read_error(response, call.body)
        if error is not None:
            raise Transient.of(error) if error.kind in (Kind.OVERLOAD, Kind.BROKEN) else Refused(server.url, error)
        try:
            return self._dialect.read(response.body, call.first.stop)
        except Unreadable as unreadable:
            raise Transient(str(unreadable), from_model=True) from unreadable

    async def _doubt(self, server: Server, call: "_Call", grant: Grant, error: Transient) -> None:
        """Raise RequestBroken when the server fails on this call but answers another one: it must not end the run.

        A small probe call finds out, so that it is known at the end of a run and right after a resume, too.
        """
        if not call.patience.doubts(error):
            return
        tried_at = grant.sent_at
        async with server.doubted:
            if server.answered_at <= tried_at and server.failed_at <= tried_at:
                await server.queue.again(grant)
                probe = _Call([PROBE], self._parameters.body([PROBE]), call.patience)
                try:
                    await self._try(server, probe, grant)
                except (Transient, Refused, ModelRefused):
                    server.failed()
        if server.answered_at > tried_at:
            raise RequestBroken(f"the server answers other requests but never this one. {_tried(server, error, call.patience)}")
        self._note_absence(server, str(error), unreachable=True, what="answers no request")

    def _note_absence(self, server: Server, why: str, *, unreachable: bool, what: str = "") -> None:
        """Say once that the server is down, and why: a waiting run must not look like a hanging one."""
        if server.absent(unreachable=unreachable):
            what = what or ("cannot be reached" if unreachable else "is not ready")
            others = self._servers.others_up(server)
            then = f"paused, waiting up to {self._config.patience_s:g} s for it"
            self._notice(f"{server.url} {what}; {'its calls go to the other servers' if others else then} ({why[:200]})")

    def _out_of_patience(self, server: Server, error: Transient, patience: Patience) -> ModelUnavailable:
        return ModelUnavailable(
            f"no answer from {_tried(server, error, patience)}. Finished work is kept: when the server is back, resume with "
            "`pop run DIR`, or raise model.patience_s"
        )

    def _expected(self, request: ChatRequest) -> float:
        """How many tokens one completion of the role will cost, by the mean of those before."""
        return min(float(request.max_tokens), self._generated.get(request.role, _TOKENS_BEFORE_ANY_ANSWER))

    def _learn(self, request: ChatRequest, reply: Reply) -> None:
        if reply.cost:
            each = reply.generated / len(reply.choices)
            self._generated[request.role] = 0.95 * self._generated.get(request.role, each) + 0.05 * each
        words = sum(len(message.content.split()) for message in request.messages)
        if 0 < reply.prompt < _READ_OF_PROMPT * words and not self._told_of_cut_prompts:
            self._told_of_cut_prompts = True
            self._notice(
                f"{self._config.model!r} read {reply.prompt} tokens of a prompt of {words} words: its server cuts long prompts "
                "without saying so; raise its context (Ollama: num_ctx)"
            )


class _Call:
    """One call: what is asked, as it is sent, and how long it may still be tried."""

    def __init__(self, requests: Sequence[ChatRequest], body: Mapping[str, Any], patience: Patience) -> None:
        self.first, self.weight, self.patience = requests[0], len(requests), patience
        self.body, self.sent = body, json.dumps(body).encode()


def _needed(request: ChatRequest) -> str:
    """Return the parameter that the mode of `request` cannot do without."""
    return "logprobs" if request.top_logprobs else "response_format" if request.schema else "grammar" if request.form else ""


def _tried(server: Server, error: Transient, patience: Patience) -> str:
    return f"{server.url}: {patience.tries} tries in {patience.spent_s:.1f} s; the last one: {error}"


def _limits(config: EndpointModel) -> Limits:
    return Limits(
        config.max_in_flight,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )
