"""Dialects: the forms of request and reply that servers speak, told by their address unless `model.dialect` says.

OpenAI's chat format is spoken by all of them but Anthropic, whose own Messages API is used. Another API gets a module beside
anthropic.py and a row in `_DIALECTS`.

How a server is told whether, and how long, its model shall reason before it answers: `model.thinking`.

| server | sent |
| --- | --- |
| vLLM, SGLang, llama.cpp, others | `chat_template_kwargs`: `enable_thinking`, `thinking`, `thinking_budget`; a budget |
| OpenAI, Azure, Ollama | `reasoning_effort`: minimal, or low, medium, high by the budget |
| OpenRouter | `reasoning` with `enabled` and `max_tokens` |
| Anthropic | `thinking` with its budget, which comes on top of `max_tokens`; no temperature then |

Another server gets a function here and a case in `thinking_fields`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pop_selfplay.config import EndpointModel, RoleThinking
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.chat_template import switches
from pop_selfplay.models.endpoint import anthropic, reply, wire
from pop_selfplay.models.endpoint.reply import Reply
from pop_selfplay.models.endpoint.wire import Body, host_of, read_key

_ANTHROPIC_HOST: Final = "api.anthropic.com"
_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com")


class Payload(Protocol):
    """Makes the JSON that asks for requests which differ only by their seeds."""

    def __call__(self, model: str, requests: Sequence[ChatRequest], *, merge_system: bool = False) -> Body: ...


@dataclass(frozen=True)
class Dialect:
    """How one API is spoken: the path behind `base_url`, requests, replies, and whether it may answer several at once."""

    name: str
    path: str
    payload: Payload
    read: Callable[[bytes, str], Reply]
    several: bool

    def headers(self, config: EndpointModel) -> dict[str, str]:
        """Return the headers of every request. Raises ModelRefused for a key that is missing or cannot be sent."""
        key = read_key(config.api_key_env)
        headers = {"content-type": "application/json"}
        if self.name == "anthropic":
            headers["anthropic-version"] = anthropic.VERSION
            return headers if key is None else {**headers, "x-api-key": key}
        if key is None:
            return headers
        if any(host_of(url).endswith(_AZURE) for url in config.urls):
            return {**headers, "api-key": key}  # Azure takes it under a name of its own
        return {**headers, "authorization": f"Bearer {key}"}


OPENAI: Final = Dialect("openai", "/chat/completions", wire.payload, reply.read_reply, several=True)
_DIALECTS: Final = {
    "openai": OPENAI,
    "anthropic": Dialect("anthropic", "/messages", anthropic.payload, anthropic.read, several=False),
}


def dialect_of(config: EndpointModel) -> Dialect:
    """Return what the config's servers speak."""
    if config.dialect != "auto":
        return _DIALECTS[config.dialect]
    native = all(host_of(url) == _ANTHROPIC_HOST for url in config.urls)
    return _DIALECTS["anthropic" if native else "openai"]


_BY_EFFORT: Final = ("openai.com", ".azure.com", "ollama.com")
_OLLAMA_PORT: Final = ":11434"
_OPENROUTER: Final = "openrouter.ai"
_LOW: Final = 1024
_MEDIUM: Final = 8192
_LEAST_OF_ANTHROPIC: Final = 1024


def thinking_fields(config: EndpointModel, dialect: str, wanted: RoleThinking) -> Body:
    """Return what is added to the body of a request, nothing where nothing is wanted."""
    if wanted.enabled is None and wanted.budget is None:
        return {}
    enabled = wanted.enabled is not False
    host = host_of(config.urls[0])
    if dialect == "anthropic":
        return _anthropic(enabled, wanted.budget)
    if host.endswith(_OPENROUTER):
        return {"reasoning": {"enabled": enabled, **({"max_tokens": wanted.budget} if wanted.budget else {})}}
    if host.endswith(_BY_EFFORT) or _OLLAMA_PORT in config.urls[0]:
        least = "none" if host.endswith("ollama.com") or _OLLAMA_PORT in config.urls[0] else "minimal"
        return {"reasoning_effort": _effort(wanted.budget) if enabled else least}
    return _by_template(wanted)


def hides_reasoning(config: EndpointModel, dialect: str) -> bool:
    """Tell whether the server keeps the reasoning to itself, so that an answer without any is whole."""
    return dialect == "anthropic" or host_of(config.urls[0]).endswith((*_BY_EFFORT, _OPENROUTER))


def _anthropic(enabled: bool, budget: int | None) -> Body:
    if not enabled:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled", "budget_tokens": max(_LEAST_OF_ANTHROPIC, budget or _MEDIUM)}}


def _effort(budget: int | None) -> str:
    return "medium" if budget is None else "low" if budget <= _LOW else "medium" if budget <= _MEDIUM else "high"


def _by_template(wanted: RoleThinking) -> Body:
    budget: Body = {} if wanted.budget is None else {"thinking_token_budget": wanted.budget}
    return {"chat_template_kwargs": switches(wanted), **budget}
