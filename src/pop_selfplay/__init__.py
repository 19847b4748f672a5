"""pop: rubric-based self-play on raw text.

    import pop_selfplay as pop

    config = pop.load_config("pop.yaml")
    result = pop.run(config, "runs/mine")

Importing this package loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pop_selfplay.api import audit, duel, evaluate, export, run
    from pop_selfplay.config import RunConfig, load_config, parse_config
    from pop_selfplay.rewards import Graded, RubricReward, reward

__version__ = "0.1.0"
__all__ = [
    "Graded",
    "RubricReward",
    "RunConfig",
    "audit",
    "duel",
    "evaluate",
    "export",
    "load_config",
    "parse_config",
    "reward",
    "run",
]

_HOME = {
    "Graded": "pop_selfplay.rewards",
    "RubricReward": "pop_selfplay.rewards",
    "RunConfig": "pop_selfplay.config",
    "audit": "pop_selfplay.api",
    "duel": "pop_selfplay.api",
    "evaluate": "pop_selfplay.api",
    "export": "pop_selfplay.api",
    "load_config": "pop_selfplay.config",
    "parse_config": "pop_selfplay.config",
    "reward": "pop_selfplay.rewards",
    "run": "pop_selfplay.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
