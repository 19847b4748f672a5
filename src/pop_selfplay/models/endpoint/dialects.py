"""Dialects: the forms of request and reply that servers speak, told by their address unless `model.dialect` says.

OpenAI's chat format is spoken by all of them but Anthropic, whose own Messages API is used. Another API gets a module beside
anthropic.py and a row in `_DIALECTS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pop_selfplay.config import EndpointModel
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.endpoint import anthropic, reply, wire
from pop_selfplay.models.endpoint.address import host_of, read_key
from pop_selfplay.models.endpoint.reply import Reply
from pop_selfplay.models.endpoint.wire import Body

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
