"""What a server's refusal means: one table from status, code and words to a kind of error.

The words are those of vLLM, SGLang, TGI, llama.cpp, Ollama, OpenAI, Azure, Anthropic, Mistral, Gemini and OpenRouter. The first
row of `_TABLE` that fits decides. A server that says it in other words gets its words into the row of that kind, and a line in
tests/unit/models/endpoint/test_errors.py.

| kind | what follows |
| --- | --- |
| too_long | this request alone is refused |
| content | this request alone is refused |
| parameter | the request is sent once more without it or under its other name; else the setting is named |
| system_role | the request is sent once more with the system text in front of the user's |
| bad_key, wrong_model, address | the run stops at once, exit code 2 |
| no_money | the run stops at once: exit code 4, or 2 if nothing was ever answered |
| overload, broken | tried again until `model.patience_s` has passed |
| unknown | this request alone is refused |

A request that is refused alone counts against its role: stages/refusals.py ends a run of which nothing else comes.
"""

import enum
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pop_selfplay.models.endpoint.http import Response

_MOST_WORDS: Final = 500
_DEPTH: Final = 4


class Kind(enum.StrEnum):
    """What is wrong, as far as it decides what to do."""

    TOO_LONG = "too_long"
    CONTENT = "content"
    PARAMETER = "parameter"
    SYSTEM_ROLE = "system_role"
    BAD_KEY = "bad_key"
    NO_MONEY = "no_money"
    WRONG_MODEL = "wrong_model"
    ADDRESS = "address"
    OVERLOAD = "overload"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServerError:
    """A server's refusal: its kind, HTTP status (or the one its body names), its words, and the parameter they name."""

    kind: Kind
    status: int
    words: str
    parameter: str = ""
    retry_after_s: float = 0.0


class _Said(NamedTuple):
    words: str
    code: str
    parameter: str
    status: int


class _Row(NamedTuple):
    """A row fits when the status is among `statuses` (empty: any) and a code is among `codes` or the words match."""

    kind: Kind
    statuses: frozenset[int]
    codes: frozenset[str]
    words: re.Pattern[str] | None


def _row(kind: Kind, statuses: str = "", codes: str = "", words: Sequence[str] = ()) -> _Row:
    numbers = frozenset(map(int, statuses.split()))
    return _Row(kind, numbers, frozenset(codes.split()), re.compile("|".join(words), re.I | re.S) if words else None)


_REQUEST: Final = "400 413 422"
_TABLE: Final = (
    _row(Kind.NO_MONEY, "429", codes="insufficient_quota billing_hard_limit_reached"),
    _row(Kind.OVERLOAD, "408 425 429"),
    _row(
        Kind.NO_MONEY,
        "400 402 403",
        codes="insufficient_quota insufficient_credits billing_error billing_not_active",
        words=(
            r"credits?\b.{0,30}(?:low|exhaust|used up|expired)",
            r"(?:insufficient|more|enough|out of|no) (?:balance|funds|quota|credit)",
            r"billing|payment|exceeded your current quota",
        ),
    ),
    _row(Kind.NO_MONEY, "402"),
    _row(
        Kind.TOO_LONG,
        "400 413 422 500",
        codes="context_length_exceeded exceed_context_size_error string_above_max_length request_too_large",
        words=(
            r"maximum context|context (?:length|window|size)",
            r"exceed\w* (?:the |its )?(?:model'?s? )?(?:available |maximum |max )*(?:context|input|token|sequence)",
            r"exceed\w* (?:the )?maximum allowed length",
            r"exceed\w* .{0,20}number of tokens|longer than the (?:model|maximum)|too many (?:input |prompt )?tokens",
            r"(?:prompt|input|request|message)s? (?:is|are) too (?:long|large)|too large to process|entity too large",
            r"must have less than \d+ tokens|max_new_tokens.{0,20}<=|max_tokens: \d+ >|reduce the length",
            r"max_(?:completion_)?tokens'?\S{0,2} is too large|at most \d+ (?:completion|output|input) tokens",
        ),
    ),
    _row(Kind.TOO_LONG, "413"),
    _row(
        Kind.CONTENT,
        "400 403 422 451",
        codes="content_filter content_policy_violation moderation_blocked data_inspection_failed safety",
        words=(
            r"content (?:management )?policy|usage polic|content.?filter|content.{0,40}(?:blocked|inappropriate)",
            r"moderation|\bflagged\b|responsible ai|safety (?:system|setting|filter|reason)|inappropriate content",
        ),
    ),
    _row(
        Kind.SYSTEM_ROLE,
        "400 422 500",
        words=(
            r"system (?:role|message|prompt|instruction)s?.{0,40}(?:not|un)\s?(?:support|allow|enabl|accept|permit)",
            r"support.{0,20}system (?:role|message|prompt|instruction)|only user and assistant roles|roles must alternate",
            r"(?:developer|system) instruction is not enabled|(?:unexpected|unknown|invalid|unsupported) role.{0,12}system",
        ),
    ),
    _row(
        Kind.BAD_KEY,
        "400",
        codes="invalid_api_key authentication_error",
        words=(r"api.?key.{0,30}(?:not valid|invalid|expired)", r"(?:invalid|incorrect|missing) api.?key"),
    ),
    _row(Kind.BAD_KEY, "401 403"),
    _row(
        Kind.WRONG_MODEL,
        _REQUEST,
        codes="model_not_found",
        words=(
            r"model\b.{0,80}\b(?:not found|not exist|not a valid|not available|not loaded)",
            r"(?:no such|unknown|invalid|not a valid) model",
        ),
    ),
    _row(Kind.WRONG_MODEL, "404"),
    _row(Kind.ADDRESS, "400", words=("plain HTTP request was sent to HTTPS", "HTTP request to an HTTPS server")),
    _row(
        Kind.PARAMETER,
        _REQUEST,
        codes="unsupported_parameter unsupported_value unknown_parameter",
        words=(
            r"unsupported|not support|n't support|not (?:available|implemented|enabled|compatible|permitted|allowed)",
            r"unknown (?:name|field|param|arg)|unexpected (?:keyword|field|arg|param)|unrecogni[sz]ed",
            r"extra.forbidden|extra (?:inputs|fields)|cannot both|only the default|incompatible|no longer|deprecated|disabled",
            r"invalid schema|invalid (?:value|parameter|'?\w+'? value)|cannot unmarshal",
            r"(?:must|should) be|greater than|less than|at most|requires?\b",
        ),
    ),
    _row(Kind.UNKNOWN, "400 409 413 422"),
    _row(Kind.OVERLOAD, "502 503 504 529"),
)
_ABSENT: Final = frozenset({502, 503, 504})


def read_error(response: Response, sent: Mapping[str, Any]) -> ServerError | None:
    """Return what the server's refusal of the request `sent` means; None where the response is no refusal.

    Some servers refuse with status 200 and the error in the body: then the body's code stands for the status.
    """
    said = _said(response.body)
    if 200 <= response.status < 300:
        if said is None:
            return None
        status = said.status or 500
    else:
        status = response.status
    said = said or _Said(response.body.decode("utf-8", "replace")[:_MOST_WORDS] or "(no body)", "", "", 0)
    kind = _kind(status, said)
    parameter = _parameter(said, sent) if kind is Kind.PARAMETER else ""
    if kind is Kind.PARAMETER and not parameter:
        kind = Kind.UNKNOWN
    return ServerError(kind, status, said.words, parameter, response.retry_after_s())


def is_absent(error: ServerError) -> bool:
    """Tell whether a proxy says that nobody is behind it, or a server that it is still loading."""
    return error.status in _ABSENT


def _kind(status: int, said: _Said) -> Kind:
    for row in _TABLE:
        if row.statuses and status not in row.statuses:
            continue
        if row.words is None and not row.codes:
            return row.kind
        if said.code in row.codes or (row.words is not None and row.words.search(said.words)):
            return row.kind
    return Kind.BROKEN if status >= 500 else Kind.ADDRESS


def _said(body: bytes) -> _Said | None:
    """Return the error that a body tells, in any of the servers' forms; None where it tells none."""
    try:
        data: Any = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("choices"):
        return None
    inner = data.get("error") or data
    if inner is data and not any(key in data for key in ("message", "detail", "error_type", "errors")):
        return None
    words, code, parameter = _words(inner), "", ""
    if isinstance(inner, dict):
        code = next((value for key in ("code", "type", "status") if isinstance(value := inner.get(key), str)), "")
        parameter = inner["param"] if isinstance(inner.get("param"), str) else ""
        number = inner.get("code", data.get("code"))
        status = int(number) if isinstance(number, int | str) and str(number).isdigit() and len(str(number)) == 3 else 0
        return _Said(words, code, parameter, status)
    return _Said(words, str(data.get("error_type") or ""), "", 0)


def _words(node: Any, depth: int = 0) -> str:
    """Return all that an error says, however deep the server wrapped it, on one line."""
    if isinstance(node, str):
        return node[:_MOST_WORDS]
    if isinstance(node, dict | list) and depth >= _DEPTH:
        return json.dumps(node)[:_MOST_WORDS]
    if isinstance(node, list):
        return "; ".join(filter(None, (_words(item, depth + 1) for item in node[:8])))[:_MOST_WORDS]
    if not isinstance(node, dict):
        return ""
    told = [_words(node.get(key), depth + 1) for key in ("message", "detail", "details", "errors", "msg")]
    metadata = node.get("metadata")
    if isinstance(metadata, dict):
        told.append(_words(metadata.get("raw"), depth + 1))
    loc = node.get("loc")
    if isinstance(loc, list | tuple) and loc:
        told.append(f"({'.'.join(map(str, loc))})")
    if node.get("type") == "extra_forbidden":
        told.append("extra_forbidden")
    return " ".join(filter(None, told))[:_MOST_WORDS] or json.dumps(node)[:_MOST_WORDS]


_OTHER_NAMES: Final = {"max_new_tokens": "max_tokens", "json_schema": "response_format"}
_NEVER: Final = frozenset({"model", "messages"})


def _parameter(said: _Said, sent: Mapping[str, Any]) -> str:
    """Return the parameter of `sent` that the error names first, "" where it names none; of temperature and top_p, top_p."""
    named = _OTHER_NAMES.get(said.parameter, said.parameter).split(".")[0]
    if named in sent and named not in _NEVER:
        return named
    found = []
    for name in sent.keys() - _NEVER:
        quoted = (
            rf"['\"`.:( ]{re.escape(name)}(?:['\"`.:), ]|$)"
            if len(name) > 1
            else rf"['\"`.]{re.escape(name)}['\"`)]|\b{name}\b"
        )
        if match := re.search(quoted, f" {said.words}"):
            found.append((match.start(), name))
    if not found:
        return next((name for other, name in _OTHER_NAMES.items() if other in said.words and name in sent), "")
    first = min(found)[1]
    if "cannot both" in said.words and "top_p" in sent:
        return "top_p"
    return first
