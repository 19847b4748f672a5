"""Language models behind one seam. Callers use `open_model` and the types in `base`; nothing else here is their business.

| file | backend |
| --- | --- |
| base.py | the seam: ChatModel, ChatRequest, Completion |
| endpoint/ | any OpenAI-compatible chat server, or several replicas of one |
| chat_template.py | conversations to prompts; chat_template.jinja is the default for base models |
| vllm_server/ | a vLLM server that the run starts, watches and stops |
| local/ | a transformers model in this process, concurrent requests batched together |
| metered.py | any of them, with the run's budget asked before every call |
| simulated/ | the shipped fake: seeded pseudo-text, in process or as a server |

Importing this module loads no backend: torch, transformers and the HTTP client come in with the first model that needs them.
A new backend gets a file here, a config type in `config/` and a case in `open_model`.
"""

import logging
from pathlib import Path
from typing import Final

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, PocketModel, SimulatedModel, VllmModel
from pop_selfplay.errors import ModelRefused
from pop_selfplay.extras import need
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, Notice

__all__ = ["POCKET_WEIGHTS", "ChatModel", "ChatRequest", "Completion", "open_model"]

_LOG: Final = logging.getLogger(__name__)
POCKET_WEIGHTS: Final = Path(__file__).parents[1] / "pocket" / "model"


def open_model(
    config: ModelConfig,
    *,
    name: str | None = None,
    notice: Notice = _LOG.warning,
    folder: Path | None = None,
) -> ChatModel:
    """Return the backend that `config` describes, ready to answer. `name` replaces its own name in records and reports.

    `notice` is told what the user should know while the model works, a server that is down for example. A server that the model
    starts writes its log into `folder`.

    Close the model when done. Raises ModelRefused when weights, key or address are missing or unusable, MissingExtra when the
    backend is not installed.
    """
    match config:
        case EndpointModel():
            from pop_selfplay.models.endpoint import EndpointChatModel

            single = EndpointChatModel(config, name=name, notice=notice)
            if not config.batch:
                return single
            from pop_selfplay.models.endpoint.batch import BatchChatModel

            return BatchChatModel(config, single, folder=folder, notice=notice)
        case VllmModel():
            from pop_selfplay.models.vllm_server import VllmChatModel

            return VllmChatModel(config, name=name, notice=notice, folder=folder)
        case SimulatedModel():
            from pop_selfplay.models.simulated import SimulatedChatModel

            return SimulatedChatModel(config, name=name)
        case LocalModel():
            need("local", "model.type local")
            from pop_selfplay.models.local import LocalChatModel

            return LocalChatModel(config, name=name, notice=notice)
        case PocketModel():
            need("local", "model.type pocket")
            from pop_selfplay.models.local import LocalChatModel

            if not (POCKET_WEIGHTS / "config.json").is_file():
                raise ModelRefused(f"the pocket model is missing from {POCKET_WEIGHTS}: reinstall pop-selfplay")
            return LocalChatModel(LocalModel(path=str(POCKET_WEIGHTS)), name=name or "pocket")
