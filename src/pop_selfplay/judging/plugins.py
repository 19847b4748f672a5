"""Scoring modes from installed packages: entry points of the group `pop_selfplay.scoring`.

    [project.entry-points."pop_selfplay.scoring"]
    weakest = "my_package.modes:Weakest"

The name is the mode's, the value its class. Nothing is imported before a config names the mode, so that a broken package harms
no run but those that use it.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from pop_selfplay.errors import ConfigError
from pop_selfplay.judging.base import ScoringMode

GROUP: Final = "pop_selfplay.scoring"


def plugin_names() -> list[str]:
    """Return the names of all modes that installed packages bring, none of which is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_plugin(name: str) -> ScoringMode:
    """Return the mode of this name from the package that brings it; there must be one.

    Raises ConfigError that names the package when several bring one, or when it cannot be imported or is no such mode.
    """
    found = {_package(entry): entry for entry in entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        packages = ", ".join(sorted(found))
        raise ConfigError(f"scoring mode {name} is provided by {len(found)} packages, {packages}: uninstall all but one")
    ((package, entry),) = found.items()
    where = f"scoring mode {name} of package {package} ({entry.value})"
    try:
        loaded = entry.load()
        mode = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # another package's import may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{where} cannot be loaded: {cause}. Repair or uninstall {package}") from error
    if not isinstance(mode, ScoringMode):
        raise ConfigError(f"{where} must be a subclass of pop_selfplay.judging.ScoringMode, but is {loaded!r:.80}")
    if mode.name != name:
        raise ConfigError(f"{where} calls itself {mode.name!r}: the entry point must have the same name as the mode")
    return mode


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "without a name"
