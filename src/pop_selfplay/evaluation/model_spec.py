"""Who is measured, and who judges: from what stands on the command line to a model that can be opened.

| written | means |
| --- | --- |
| `path/to/model` | a directory of transformers weights, loaded in this process |
| `org/name` | the same from the hub |
| `http://host:8000/v1#model` | an OpenAI-compatible endpoint, without a key |
| `model.yaml` | the `model` part of a run config, with every setting: keys, devices, time-outs |
| `runs/mine` | a run directory: the best of its models, the start too, by its own measure; without one the last trained |
| `runs/mine#0` | the model that the run started from; `#2` the one after round 2 |
| `pocket`, `simulated` | the shipped pocket model, the shipped fake |

A new way to name a model gets a row here and a branch in `named_model`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import (
    EndpointModel,
    LocalModel,
    ModelConfig,
    PocketModel,
    SimulatedModel,
    VllmModel,
    complaints,
    read_yaml,
)
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.rounds import best_model
from pop_selfplay.journal import RunDirectory
from pop_selfplay.models import open_model
from pop_selfplay.models.base import ChatModel, Notice
from pop_selfplay.models.identity import settings_name, weights_stamp
from pop_selfplay.runs.session import watch_session

_SHIPPED: Final[dict[str, ModelConfig]] = {"pocket": PocketModel(), "simulated": SimulatedModel()}
_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class ModelSpec:
    """A model to measure or to judge by. `label` is for people; calls in a journal belong to `identity`, the model's own name.

    `open` is called once for each evaluation, in its event loop, with who is told when its server is down or back; whoever
    opens it closes it. `in_flight` is how many calls it takes at once.
    """

    label: str
    identity: str
    open: Callable[[Notice], ChatModel]
    in_flight: int = 256


def find_model(text: str) -> ModelSpec:
    """Return the model that `text` names, by the table at the top. Raises UsageError that says what it may be."""
    return spec_of(*named_model(text))


def named_model(text: str) -> tuple[str, ModelConfig]:
    """Return a label for people and the config of the model that `text` names. Raises UsageError that says what it may be."""
    place, marked, number = text.rpartition("#")
    if marked and (Path(place) / "config.yaml").is_file() and not text.startswith("http"):
        return _of_run(Path(place), number)
    if (Path(text) / "config.yaml").is_file():
        return _of_run(Path(text), "")
    return text, _config(text)


def spec_of(label: str, config: ModelConfig) -> ModelSpec:
    """Return the model that `config` describes."""
    identity = settings_name(config) + weights_stamp(config)
    in_flight = config.max_in_flight if isinstance(config, (EndpointModel, VllmModel)) else 256
    return ModelSpec(label, identity, lambda notice: open_model(config, name=identity, notice=notice), in_flight)


def start_of_run(path: Path) -> ModelSpec:
    """Return the model that the run at `path` started from: what its trained model is compared with."""
    return spec_of(*_of_run(path, "0"))


def _config(text: str) -> ModelConfig:
    if text in _SHIPPED:
        return _SHIPPED[text]
    if text.startswith(("http://", "https://")):
        url, marked, name = text.partition("#")
        if not marked or not name:
            raise UsageError(f"the endpoint {text!r} names no model: write {url}#MODEL, where MODEL is its name on the server")
        return EndpointModel(base_url=url, model=name)
    if text.endswith(_YAML):
        return _read_yaml(Path(text))
    if not Path(text).expanduser().is_dir() and not _may_be_of_the_hub(text):
        raise UsageError(
            f"the model {text!r} is neither a directory, nor a run, nor a hub name (org/name): check the path. A run "
            "has a config.yaml; write RUN#N for the model of its round N"
        )
    return LocalModel(path=text)


def _may_be_of_the_hub(text: str) -> bool:
    """Tell whether `text` looks like name or org/name, and not like a path that was mistyped: the hub is asked for minutes."""
    outside = text.startswith((".", "/", "~")) or "#" in text or text.count("/") > 1
    return not outside and not ("/" in text and Path(text).parent.is_dir())


def _read_yaml(path: Path) -> ModelConfig:
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    try:
        return adapter.validate_python(read_yaml(path, "model config"))
    except ValidationError as error:
        lines = "\n  ".join(complaints(error, ModelConfig))
        raise ConfigError(f"{path} must be the model part of a run config:\n  {lines}") from error


def _of_run(path: Path, number: str) -> tuple[str, ModelConfig]:
    directory = RunDirectory.open(path)
    if number and not number.isdecimal():
        raise UsageError(f"{path}#{number}: write the number of a round after #, 0 for the starting model")
    with watch_session(path) as session:
        best = best_model(session)
        round_ = int(number) if number else best.round if best else -1
        trained = round_ > 0 and directory.model_path(round_).is_dir()
        if round_ != 0 and not trained:
            if not session.config.training.trains:
                raise UsageError(f"the run {path} trains no model (training.type is none): name its starting model, {path}#0")
            asked = f"no model of round {number}" if number else "no trained model yet"
            raise UsageError(f"the run {path} has {asked}: continue with `pop run {path}`, or name another round")
        return f"{path.name}#{round_}", session.casting.policy(round_ + 1)
