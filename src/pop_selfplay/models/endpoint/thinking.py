"""How a server is told whether, and how long, its model shall reason before it answers: `model.thinking`.

| server | sent |
| --- | --- |
| vLLM, SGLang, llama.cpp and any other | `chat_template_kwargs` with `enable_thinking` and `thinking`, which chat templates read; a budget as `thinking_budget` there and as `thinking_token_budget`, which vLLM enforces |
| OpenAI, Azure, Ollama | `reasoning_effort`: minimal, or low, medium, high by the budget |
| OpenRouter | `reasoning` with `enabled` and `max_tokens` |
| Anthropic | `thinking` with its budget, which comes on top of `max_tokens`; no temperature then |

Another server gets a function here and a case in `thinking_fields`.
"""  # noqa: E501

from typing import Final

from pop_selfplay.config import EndpointModel, RoleThinking
from pop_selfplay.models.chat_template import switches
from pop_selfplay.models.endpoint.address import host_of
from pop_selfplay.models.endpoint.wire import Body

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
        return {"reasoning_effort": _effort(enabled, wanted.budget)}
    return _by_template(wanted)


def hides_reasoning(config: EndpointModel, dialect: str) -> bool:
    """Tell whether the server keeps the reasoning to itself, so that an answer without any is whole."""
    return dialect == "anthropic" or host_of(config.urls[0]).endswith((*_BY_EFFORT, _OPENROUTER))


def _anthropic(enabled: bool, budget: int | None) -> Body:
    if not enabled:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled", "budget_tokens": max(_LEAST_OF_ANTHROPIC, budget or _MEDIUM)}}


def _effort(enabled: bool, budget: int | None) -> str:
    if not enabled:
        return "minimal"
    return "medium" if budget is None else "low" if budget <= _LOW else "medium" if budget <= _MEDIUM else "high"


def _by_template(wanted: RoleThinking) -> Body:
    budget: Body = {} if wanted.budget is None else {"thinking_token_budget": wanted.budget}
    return {"chat_template_kwargs": switches(wanted), **budget}
