"""Anthropic's Messages API, natively: what differs from OpenAI's chat format, which everything else here speaks.

The system text has a field of its own, stop tags are `stop_sequences`, a schema is `output_config.format`. There is no seed,
no `n` and no probabilities; a sample cannot be repeated, and `synthesis.scoring: logprob` is refused. temperature and top_p
are not sent together, and reach from 0 to 1.
"""

import json
from collections.abc import Sequence
from typing import Final

from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.endpoint.reply import Reply, Unreadable, count, read_json, read_reply
from pop_selfplay.models.endpoint.wire import Body, typed

VERSION: Final = "2023-06-01"
_FINISHED: Final = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "content_filter"}


def payload(model: str, requests: Sequence[ChatRequest], *, merge_system: bool = False) -> Body:
    """Return the JSON that asks for the first of `requests`; `merge_system` has no meaning here."""
    request = requests[0]
    system = [message.content for message in request.messages if message.role == "system"]
    turns = [{"role": message.role, "content": message.content} for message in request.messages if message.role != "system"]
    cooled = {"temperature": min(1.0, request.temperature)} if request.top_p == 1 else {"top_p": request.top_p}
    form = {"format": {"type": "json_schema", "schema": typed(request.schema)}}
    return {
        "model": model,
        **({"system": "\n\n".join(system)} if system else {}),
        "messages": turns,
        "max_tokens": request.max_tokens,
        **cooled,
        **({"stop_sequences": [request.stop]} if request.stop else {}),
        **({"output_config": form} if request.schema else {}),
        **({"top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
    }


def read(body: bytes, stop: str) -> Reply:
    """Return the answer of a Messages reply. Raises Unreadable where there is none."""
    data = read_json(body)
    if not isinstance(data, dict) or not isinstance(data.get("content"), list):
        raise Unreadable(f"unreadable reply, without content: {body[:200]!r}")
    reason, usage = str(data.get("stop_reason")), data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    cached = count(counts.get("cache_read_input_tokens"))
    prompt = count(counts.get("input_tokens")) + count(counts.get("cache_creation_input_tokens")) + cached
    choice = {
        "message": {"content": data["content"]},
        "finish_reason": _FINISHED.get(reason, "stop"),
        "stop_reason": data.get("stop_sequence"),
    }
    plain = {
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": counts.get("output_tokens"),
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }
    return read_reply(json.dumps(plain).encode(), stop)
