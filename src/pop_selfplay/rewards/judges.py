"""A judge for the reward alone: which model, by which prompts and settings, and where its calls are kept."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, Synthesis, complaints
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ConfigError, ModelRefused, ModelUnavailable
from pop_selfplay.journal import Journal
from pop_selfplay.models import open_model
from pop_selfplay.records import Role
from pop_selfplay.stages.calls import Cast

IN_MEMORY: Final = Path(":memory:")
"""A journal that lives as long as the reward."""
_ASK_TIMEOUT_S: Final = 30.0
_ANY_MODEL: Final[TypeAdapter[ModelConfig]] = TypeAdapter(ModelConfig)


class Judging(NamedTuple):
    """How answers are judged: by whom, with which prompts, mode and sampling."""

    judge: ModelConfig
    domain: Domain
    synthesis: Synthesis
    seed: int


@asynccontextmanager
async def open_judge(judging: Judging, journal: Path) -> AsyncIterator[Cast]:
    """Yield a cast of the judge alone, its calls kept in `journal`. Raises ModelRefused when it cannot be opened."""
    model = open_model(judging.judge)
    try:
        with Journal.open(journal) as kept:
            yield Cast({Role.JUDGE: model}, judging.domain, judging.synthesis, kept, judging.seed)
    finally:
        await model.close()


def judge_config(judge: ModelConfig | Mapping[str, Any] | str) -> ModelConfig:
    """Return the config of `judge`: itself, the same as plain data, the address of a server, or the path of a model.

    A server that is given by its address is asked which model it serves. Raises ConfigError for anything else, or where it
    serves several; ModelUnavailable when it does not answer.
    """
    if isinstance(judge, str):
        if judge.startswith(("http://", "https://")):
            return EndpointModel(base_url=judge, model=_served(judge))
        return LocalModel(path=judge)
    if not isinstance(judge, Mapping):
        return judge
    try:
        return _ANY_MODEL.validate_python(dict(judge))
    except ValidationError as error:
        raise ConfigError(f"judge {dict(judge)!r:.200} is not a model config: {complaints(error, ModelConfig)[0]}") from error


def _served(address: str) -> str:
    """Return the name of the one model behind `address`."""
    url = f"{address.rstrip('/')}/models"
    try:
        reply = httpx2.get(url, timeout=_ASK_TIMEOUT_S)
        reply.raise_for_status()
        names = [str(model["id"]) for model in reply.json()["data"]]
    except httpx2.TransportError as error:
        raise ModelUnavailable(f"no answer from {url}: {error or type(error).__name__}. Is the server up?") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ModelRefused(f"{url} does not list its models: {error}. Give the judge as {_AS_DATA}") from error
    if len(names) != 1:
        raise ConfigError(f"{address} serves {len(names)} models ({', '.join(names)}): give the judge as {_AS_DATA}")
    return names[0]


_AS_DATA: Final = '{"type": "endpoint", "base_url": …, "model": …}'
