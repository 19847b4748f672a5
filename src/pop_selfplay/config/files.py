"""Run configs from files and plain data, and back."""

import copy
import functools
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from pop_selfplay.config.run import RunConfig
from pop_selfplay.config.training import Training, load_installed_training
from pop_selfplay.config.validation import complaints, refuse_bottomless
from pop_selfplay.errors import ConfigError

_SHOWN: Final = 120
_NO_YAML: Final = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError)
"""What PyYAML raises for a text that it cannot read: its own error, and whatever its parsing of single values lets through."""
_BASES: Final = re.compile(r"[-+]?(?:0\d|.*:)")
"""Numbers that only YAML 1.1 knows: 010 is 8 to it, and 1:30 is 90."""


class _Loader(yaml.SafeLoader):
    """Reads plain data, and refuses a key that stands twice in one mapping: PyYAML would let the last one win.

    A number with a leading zero or a colon stays a text, as in YAML 1.2: what it is to be, the setting decides.
    """

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        text = self.construct_scalar(node)
        if _BASES.match(text):
            return text
        return self.construct_yaml_int(node) if node.tag.endswith(":int") else self.construct_yaml_float(node)

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} occurs twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_plain: Final = functools.lru_cache(32)(functools.partial(yaml.load, Loader=_Loader))  # a command reads its run's config often


def parse_config(data: Any, source: str = "config") -> RunConfig:
    """Validate plain data into a RunConfig. Raises ConfigError that names each wrong field, its value and what is allowed."""
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{source} must be a mapping of settings, but is {found}")
    _refuse_bottomless(data, source)
    training = data.get("training")
    kind = training.get("type") if isinstance(training, dict) else None
    if isinstance(kind, str) and kind not in Training.variants():
        load_installed_training(kind)
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source} is not a valid run config:\n  " + "\n  ".join(complaints(error, RunConfig))) from error


def load_config(path: str | PathLike[str], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply `a.b=value` overrides (values are YAML). Relative paths are relative to the current directory.

    Raises ConfigError when the file cannot be read or is not a valid config.
    """
    data = read_yaml(Path(path), "config")
    for override in overrides:
        data = _override(data, override)
    return parse_config(data, str(path))


def read_yaml(path: Path, what: str) -> Any:
    """Return the content of a YAML file as plain data. Raises ConfigError, whose message calls the file `what`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}; check the name") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path} is not UTF-8 text ({error}): save it as UTF-8") from error
    data = _parse_yaml(text, f"{what} {path}")
    _refuse_bottomless(data, f"{what} {path}")
    return data


def dump_config(config: RunConfig) -> str:
    """Return `config` as YAML with every default written out; `load_config` reads it back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(data: Any, override: str) -> Any:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r:.{_SHOWN}} must look like synthesis.candidates=8")
    return _replaced(data, keys, _parse_yaml(text, f"--set {override!r:.{_SHOWN}}: the value"))


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return copy.deepcopy(_plain(text))
    except _NO_YAML as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{source} is not valid YAML: {why}") from error


def _refuse_bottomless(data: Any, source: str) -> None:
    try:
        refuse_bottomless(data)
    except ValueError as error:
        raise ConfigError(f"{source} {error}: this is not a config") from error


def _replaced(node: Any, keys: list[str], value: Any, usual_type: str | None = None) -> Any:
    if not keys:
        return value
    branch = dict(node) if isinstance(node, dict) else {}
    if keys == ["type"] and branch.get("type", usual_type) != value:
        branch = {}  # the settings of one type mean nothing to another
    usual = getattr(RunConfig.model_fields.get(keys[0]), "default", None)
    branch[keys[0]] = _replaced(branch.get(keys[0]), keys[1:], value, getattr(usual, "type", None))
    return branch
