"""Which model is it? What tells models apart, for stored calls, for lineages and for who is measured.

| function | the same as long as |
| --- | --- |
| `settings_name` | the settings that decide what it writes stay the same, wherever and however fast it works |
| `weights_stamp` | nobody wrote to its directory: sizes and times of the files, so that even large weights take no time |
| `weights_hash` | the weights themselves are the same, wherever they lie |

`weights_of` says where the weights are. A new kind of model gets a case there; its settings of speed and place go into
`config.OPERATIONAL`.
"""

import hashlib
import json
from pathlib import Path
from typing import Final

from pop_selfplay.config import (
    ADDED,
    OPERATIONAL,
    EndpointModel,
    LocalModel,
    ModelConfig,
    PocketModel,
    SimulatedModel,
    VllmModel,
)
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.models.model_files import expanded
from pop_selfplay.seeds import derive_seed

_DECIDES: Final = {".safetensors", ".bin", ".json", ".jinja", ".model"}
"""Suffixes of the files of a model directory that decide what the model writes."""


def settings_name(model: ModelConfig) -> str:
    """Return a name for the settings that decide what a model writes: the same wherever and however fast it works."""
    unset = {name for name in ADDED & type(model).model_fields.keys() if getattr(model, name) == _default(model, name)}
    settings = model.model_dump(mode="json", exclude=set(OPERATIONAL) | unset)
    return f"{model.type}-{derive_seed(json.dumps(settings, sort_keys=True)):016x}"


def _default(model: ModelConfig, name: str) -> object:
    return type(model).model_fields[name].get_default(call_default_factory=True)


def weights_of(model: ModelConfig) -> str | None:
    """Return the directory (~ written out) or hub name of a model's weights, None where it has none."""
    match model:
        case LocalModel() | VllmModel():
            return expanded(model.path)
        case PocketModel():
            return str(POCKET_WEIGHTS)
        case EndpointModel():
            return None if model.weights is None else expanded(model.weights)
        case SimulatedModel():
            return None


def weights_stamp(config: ModelConfig) -> str:
    """Return what tells apart the weights that lie in one directory at different times; empty where there is no directory."""
    weights = None if isinstance(config, EndpointModel) else weights_of(config)
    if weights is None or not Path(weights).expanduser().is_dir():
        return ""
    files = sorted(path for path in Path(weights).expanduser().iterdir() if path.is_file())
    facts = [f"{path.name} {(status := path.stat()).st_size} {status.st_mtime_ns}" for path in files]
    return f"-{derive_seed(*facts):016x}"


def weights_hash(directory: Path) -> str | None:
    """Return a hash of the files that decide what the model in `directory` writes; None where there is no such directory."""
    if not directory.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.iterdir() if path.suffix in _DECIDES and path.is_file()):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]
