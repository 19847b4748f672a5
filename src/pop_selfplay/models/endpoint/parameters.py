"""Parameters of requests that a server does not take: left out or renamed, as the config says or as it is found out.

The parameter `n` (several answers in one call) and the one for a grammar are tried out by a probe before they are relied on.
Another server's name for a grammar is a row in `_GRAMMARS`.
"""

import asyncio
import dataclasses
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

from pop_selfplay.config import EndpointModel
from pop_selfplay.method.parsing import Block, Form, grammar
from pop_selfplay.models.base import ChatRequest, Notice
from pop_selfplay.models.endpoint.dialects import Dialect, hides_reasoning, thinking_fields
from pop_selfplay.models.endpoint.errors import Kind, ServerError
from pop_selfplay.models.endpoint.reply import Reply
from pop_selfplay.models.endpoint.servers import Refused
from pop_selfplay.models.endpoint.wire import Body
from pop_selfplay.records import Message, Role

_ABOUT_N: Final = re.compile(r"\bn\b|best_of|choices|sequences|candidate", re.I)
_STRIKES: Final = 3
"""One bad reply does not end it: a proxy may have another server behind it for a moment."""
PROBE: Final = ChatRequest(
    role=Role.SOLVER,
    messages=(Message(role="user", content="Write one line of random words."),),
    temperature=1.0,
    top_p=1.0,
    max_tokens=16,
    seed=1,
)


class NSupport:
    """What is known of the server's `n`."""

    def __init__(self, setting: Literal["auto", "never"], notice: Notice) -> None:
        self._notice = notice
        self._honoured: bool | None = None if setting == "auto" else False
        self._strikes = 0
        self._probing = asyncio.Lock()

    async def honoured(self, ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
        """Tell whether `n` can be used; the first caller asks the server by `ask`. Raises what `ask` raises, but Refused."""
        if self._honoured is None:
            async with self._probing:
                if self._honoured is None:
                    self._honoured = await _probe(ask)
        return self._honoured

    def answered(self) -> None:
        """A call for several answers got them all."""
        self._strikes = 0

    def refused(self, n: int, words: str) -> None:
        """A call for `n` answers was refused. If the server's words are about the number, it was the last."""
        if _ABOUT_N.search(words):
            self._end(n, words)

    def failed(self, n: int, words: str) -> None:
        """A call for `n` answers got another number: so many in a row, and every answer is asked for by itself."""
        self._strikes += 1
        if self._strikes >= _STRIKES:
            self._end(n, words)

    def _end(self, n: int, words: str) -> None:
        if self._honoured:
            self._honoured = False
            self._notice(f"the server does not answer n = {n} ({words[:200]}): from now on each candidate gets its own call")


_GRAMMARS: Final[Mapping[str, Callable[[str], Body]]] = {
    "structured_outputs": lambda text: {"structured_outputs": {"grammar": text}},  # vLLM
    "grammar": lambda text: {"grammar": text},  # llama.cpp
    "ebnf": lambda text: {"ebnf": text},  # SGLang
    "guided_grammar": lambda text: {"guided_grammar": text},  # vLLM before 0.12
}
_SAID: Final = "constrained by a grammar"
"""What no model answers to `PROBE` of its own accord."""
FORM_PROBE: Final = dataclasses.replace(PROBE, max_tokens=48, form=Form((Block("", (_SAID,)),)))


class FormSupport:
    """What is known of the server's decoding by a grammar."""

    def __init__(self, parameters: "Parameters", model: str, notice: Notice) -> None:
        self._parameters, self._model, self._notice = parameters, model, notice
        self._honoured: bool | None = None
        self._probing = asyncio.Lock()

    async def honoured(self, ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
        """Tell whether a grammar is heeded; the first caller asks the server. Raises what `ask` raises, but Refused."""
        async with self._probing:
            if self._honoured is None:
                self._honoured = await self._tried(ask)
        return self._honoured

    async def _tried(self, ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
        for name in self._parameters.grammars:
            self._parameters.grammar = name
            try:
                reply = await ask([FORM_PROBE])
            except Refused:
                continue
            if reply.choices[0].text.strip() == _SAID:
                self._notice(f"the server of {self._model!r} decodes by a grammar ({name}): no answer can leave its form")
                return True
        self._parameters.grammar = None
        tried = ", ".join(self._parameters.grammars) or "nothing: its API has no grammars"
        self._notice(
            f"the server of {self._model!r} does not decode by a grammar (tried {tried}): synthesis.constrain: auto changes "
            "nothing, and answers keep their form as well as the model can"
        )
        return False


async def _probe(ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
    try:
        reply = await ask([PROBE, PROBE])
    except Refused:
        return False
    return len(reply.choices) == 2 and reply.choices[0].text != reply.choices[1].text


_OTHER_NAME: Final = {"max_tokens": "max_completion_tokens"}
_MAY_BE_LEFT_OUT: Final = {
    "temperature": "it samples at its own temperature",
    "top_p": "it samples with its own top_p",
    "seed": "its samples cannot be repeated",
    "stop": "it is cut off here",
    "stop_sequences": "it is cut off here",
}
_NEEDED_BY: Final = {
    "logprobs": "synthesis.scoring logprob needs it: lower synthesis.logprob.top if it asks for too many, use a server that "
    "returns them (vLLM, SGLang, llama.cpp), or score pointwise",
    "response_format": "synthesis.json_schema needs it: set it to false, or use a server that decodes by a JSON schema",
    **dict.fromkeys(_GRAMMARS, "synthesis.constrain: auto sends it: set that to none"),
    "max_tokens": "give the server's name in model.rename, or leave it out with model.omit",
}


_OF_THINKING: Final = frozenset({"chat_template_kwargs", "thinking_token_budget", "reasoning_effort", "reasoning", "thinking"})


class Parameters:
    """Makes the bodies of requests to one endpoint as its servers take them."""

    def __init__(self, config: EndpointModel, dialect: Dialect, notice: Notice) -> None:
        self._config, self._dialect, self._notice = config, dialect, notice
        self._left_out = set(config.omit)
        self._renamed = dict(config.rename)
        self._without_system = False
        self.grammar: str | None = None
        """The name under which a grammar is sent; None where the server takes none."""

    @property
    def grammars(self) -> list[str]:
        """The names under which a server may take a grammar: none for an API that has no such thing."""
        return [name for name in _GRAMMARS if self.sends(name)] if self._dialect.name == "openai" else []

    def body(self, requests: Sequence[ChatRequest]) -> Body:
        """Return the JSON that asks for all of `requests`, which differ only by their seeds."""
        body = self._dialect.payload(self._config.model, requests, merge_system=self._without_system)
        thinking = thinking_fields(self._config, self._dialect.name, self._config.thinking.of(requests[0].role))
        body |= thinking
        if requests[0].form is not None and self.grammar is not None:
            body |= _GRAMMARS[self.grammar](grammar(requests[0].form))
        if not self.stops(requests[0].role):
            body.pop("stop", None)
        if thinking and self._dialect.name == "anthropic" and thinking["thinking"]["type"] == "enabled":
            body["max_tokens"] += thinking["thinking"]["budget_tokens"]
            body = {name: value for name, value in body.items() if name not in ("temperature", "top_p")}
        body = {self._renamed.get(name, name): value for name, value in body.items() if name not in self._left_out}
        return body | self._config.extra_body

    def stops(self, role: Role) -> bool:
        """Tell whether the role's requests have their stop tag: not where the model thinks aloud, since a draft may hold it."""
        return self.sends("stop") and not self.thinks(role)

    def thinks(self, role: Role) -> bool:
        """Tell whether the role is told to think, if only by a budget, by a server that shows it."""
        wanted = self._config.thinking.of(role)
        told = wanted.enabled or (wanted.enabled is None and wanted.budget is not None)
        return told and not hides_reasoning(self._config, self._dialect.name)

    def leave_out(self, name: str) -> None:
        """Send the parameter `name` no more."""
        self._left_out.add(name)

    def sends(self, name: str) -> bool:
        """Tell whether requests may have the parameter `name`."""
        return name not in self._left_out

    def learn(self, error: ServerError, sent: Body, requests: Sequence[ChatRequest]) -> bool:
        """Take what `error` says of the body `sent`; tell whether the next body differs from it, so that it may be answered."""
        if error.kind is Kind.SYSTEM_ROLE and not self._without_system and sent["messages"][0]["role"] == "system":
            self._without_system = True
            self._tell("a system message", error, "its text goes in front of the user's")
        elif error.kind is Kind.PARAMETER:
            self._learn_parameter(error)
        return self.body(requests) != sent

    def needs(self, error: ServerError) -> str:
        """Return what to do about a parameter that the server refuses and that cannot be left out, "" for any other error."""
        if error.kind is not Kind.PARAMETER:
            return ""
        name = self._ours(error.parameter)
        if name in self._config.extra_body:
            return f"model.extra_body sets {name}: change it"
        if name in _OF_THINKING:
            return f"model.thinking sets {name}: leave that out, or set it in the server's own form in model.extra_body"
        return self.why_needed(name.removeprefix("top_") if name == "top_logprobs" else name)

    def why_needed(self, name: str) -> str:
        """Return which setting needs the parameter `name`, and what to do; "" for one that can be done without."""
        return _NEEDED_BY.get(name, "")

    def _learn_parameter(self, error: ServerError) -> None:
        name = self._ours(error.parameter)
        if name in self._config.extra_body:
            return
        if name in _OTHER_NAME and name not in self._renamed:
            self._renamed[name] = _OTHER_NAME[name]
            self._tell(name, error, f"it is sent as {_OTHER_NAME[name]}")
        elif name in _MAY_BE_LEFT_OUT and name not in self._left_out:
            self._left_out.add(name)
            self._tell(name, error, f"it is left out, and {_MAY_BE_LEFT_OUT[name]}")

    def _ours(self, name: str) -> str:
        return next((ours for ours, theirs in self._renamed.items() if theirs == name), name)

    def _tell(self, what: str, error: ServerError, then: str) -> None:
        self._notice(f"the server of {self._config.model!r} does not take {what} ({error.words[:200]}): from now on {then}")
