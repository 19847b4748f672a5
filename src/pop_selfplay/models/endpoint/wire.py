"""What goes over the wire: a request as JSON, and the address and key it is sent with. OpenAI's chat format."""

import os
from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler

from pop_selfplay.errors import ModelRefused
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.chat_template import without_system
from pop_selfplay.models.endpoint.http import Unusable, find_proxy

_SEED_RANGE: Final = 2**31 - 1

Body: TypeAlias = dict[str, Any]
"""The body of a request: JSON, of which a server may be told to be sent anything."""


def payload(model: str, requests: Sequence[ChatRequest], *, merge_system: bool = False) -> Body:
    """Return the JSON that asks for all of `requests`, which differ only by their seeds; the first one's seed is sent.

    With `merge_system` the system text goes in front of the user's.
    """
    request = requests[0]
    messages = without_system(request.messages) if merge_system else request.messages
    schema = {"name": request.role.value, "schema": typed(request.schema), "strict": True}
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        # Our seeds have up to 63 bits, servers take 31. Modulo a Mersenne prime, every bit of ours still counts.
        "seed": request.seed % _SEED_RANGE,
        **({"n": len(requests)} if len(requests) > 1 else {}),
        **({"stop": [request.stop]} if request.stop else {}),
        **({"response_format": {"type": "json_schema", "json_schema": schema}} if request.schema else {}),
        **({"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
    }


def typed(schema: Any) -> Any:
    """Return a JSON schema with a type beside every enum, as OpenAI's strict mode demands.

    Here and not where schemas are made: a stored call counts for the schema as it was asked for.
    """
    if isinstance(schema, list):
        return [typed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: typed(value) for key, value in schema.items()}
    values = schema.get("enum")
    if isinstance(values, list) and "type" not in schema:
        found = {"type": "string" if all(isinstance(value, str) for value in values) else "integer", **found}
    return found


def url_of(base_url: str, path: str) -> str:
    """Return `base_url` with `path` behind its own path, and its query (`?api-version=…`) behind both.

    Raises ModelRefused for what is no address, or for one that only an unusable proxy leads to.
    """
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ModelRefused(f"model.base_url {base_url!r} is not a URL: {error}") from error
    if not usable or parts.fragment:
        raise ModelRefused(f"model.base_url {base_url!r} must look like http://localhost:8000/v1")
    url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))
    try:
        find_proxy(url)
    except Unusable as error:
        raise ModelRefused(f"{url} cannot be asked: {error}") from error
    return url


def host_of(base_url: str) -> str:
    """Return the host of an address, "" where it has none."""
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return ""


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, None where none is named. Raises ModelRefused for one that cannot be sent."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelRefused(f"the environment variable {variable} (model.api_key_env) is not set: export it with the key")
    if not key.isascii() or not key.isprintable():
        raise ModelRefused(
            f"the key in the environment variable {variable} (model.api_key_env) holds a line break or another character "
            "that no key has: export the key alone"
        )
    return key


class NoRedirects(HTTPRedirectHandler):
    """For urllib: a key is for its server, and for none that this one points at, so a redirect is an HTTPError."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
