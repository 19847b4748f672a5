"""What goes over the wire: a request as JSON. OpenAI's chat format, only its plain parameters; reply.py reads the answers."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.chat_template import without_system

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
