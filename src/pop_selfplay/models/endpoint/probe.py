"""What a server serves and what it can do, found out by asking it: for `pop doctor`, `pop init` and judges given by address.

Short single requests, outside of any run, so plain HTTP of the standard library does. A run finds out by itself what its server
takes (parameters.py); this is for people who want to know before. A further ability is a function in `_TRIES`.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.models.endpoint.dialects import dialect_of
from pop_selfplay.models.endpoint.wire import Body, NoRedirects, url_of

_TIMEOUT_S: Final = 30.0
_MOST_BYTES: Final = 1 << 22
_CONTEXT: Final = ("max_model_len", "context_length", "max_context_length", "n_ctx")
"""What vLLM and SGLang, OpenRouter, LM Studio and llama.cpp call the most tokens of prompt and answer together."""


class ServedModel(NamedTuple):
    """A model on a server; `context` is its most tokens, None where the server does not say."""

    name: str
    context: int | None


def served_models(base_url: str, headers: Mapping[str, str] | None = None) -> list[ServedModel]:
    """Return what the server at `base_url` (up to /v1) serves, in its order.

    Raises ModelUnavailable when it does not answer, ModelRefused for an address that is none, a status that is an error, or an
    answer that lists no models.
    """
    url = url_of(base_url, "/models")
    listed = _ask(url, headers or {})
    try:
        return [ServedModel(str(model["id"]), _context(model)) for model in listed["data"]]
    except (KeyError, TypeError) as error:
        raise ModelRefused(f"{url} does not list its models: {error!r}; is this the address up to /v1?") from error


def abilities(config: EndpointModel) -> dict[str, str]:
    """Return, for one answer, `n`, `logprobs` and `json_schema`, "" where the server does it, else what it said instead.

    Where it gives no answer at all, nothing else is asked. Raises ModelUnavailable when it is not there, ModelRefused for an
    unusable key.
    """
    dialect = dialect_of(config)
    if dialect.name != "openai":
        return {"answer": "not tried: only OpenAI's API is"}
    url, headers = url_of(config.urls[0], dialect.path), dialect.headers(config)
    found: dict[str, str] = {}
    for name, (fields, honoured) in _TRIES.items():
        try:
            reply = _ask(url, headers, _PROBE | {"model": config.model} | fields | config.extra_body)
            found[name] = "" if honoured(reply) else "answers as if it had not been asked for"
        except ModelRefused as error:
            found[name] = str(error)
        except (KeyError, TypeError, IndexError, ValueError):
            found[name] = "answered in a form that is not OpenAI's"
        if found["answer"]:
            break
    return found


_PROBE: Final[Body] = {
    "messages": [{"role": "user", "content": 'Name one colour. Answer as JSON: {"colour": "..."}'}],
    "temperature": 1.0,
    "max_tokens": 32,
}
_SCHEMA: Final[Body] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def _by_schema(reply: Any) -> bool:
    try:
        said = json.loads(reply["choices"][0]["message"]["content"] or "")
    except ValueError:  # it answered in words
        return False
    return isinstance(said, dict) and said.keys() == {"colour"} and said["colour"] in ("red", "blue")


_TRIES: Final[dict[str, tuple[Body, Callable[[Any], bool]]]] = {
    "answer": ({}, lambda reply: len(reply["choices"]) == 1),
    "n": ({"n": 2}, lambda reply: len(reply["choices"]) == 2),
    "logprobs": (
        {"logprobs": True, "top_logprobs": 5},
        lambda reply: bool(reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]),
    ),
    "json_schema": (
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "colour", "schema": _SCHEMA, "strict": True}},
            "temperature": 0.0,
        },
        _by_schema,
    ),
}
"""Ability → what is added to the request, and whether the reply shows it."""


def _ask(url: str, headers: Mapping[str, str], body: Body | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.build_opener(NoRedirects).open(request, timeout=_TIMEOUT_S) as reply:
            return json.loads(reply.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            said = " ".join(error.read(_MOST_BYTES).decode("utf-8", "replace").split())
        raise ModelRefused(f"{url} answers {error.code} {error.reason}: {said[:300]}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise ModelRefused(f"{url} does not answer in JSON: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ModelUnavailable(f"no answer from {url}: {why or type(error).__name__}. Is the server up?") from error


def _context(model: Any) -> int | None:
    places = [model, model.get("meta") or {}]  # llama.cpp has it in there
    found = [place[name] for place in places for name in _CONTEXT if isinstance(place.get(name), int)]
    return found[0] if found else None
