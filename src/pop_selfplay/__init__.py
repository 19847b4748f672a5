"""pop: rubric-based self-play on raw text.

    import pop_selfplay as pop

    config = pop.load_config("pop.yaml")
    result = pop.run(config, "runs/mine")
    result.rounds[0].pairs

Importing this package loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pop_selfplay.api import audit, duel, evaluate, export, rejudge, run
    from pop_selfplay.config import RunConfig, load_config, parse_config
    from pop_selfplay.results import (
        AuditResult,
        DuelResult,
        EvalResult,
        RejudgeResult,
        ReportedEstimate,
        RunResult,
        read_result,
    )
    from pop_selfplay.rewards import Graded, RubricReward, reward

__version__ = "0.2.0"
__all__ = [
    "AuditResult",
    "DuelResult",
    "EvalResult",
    "Graded",
    "RejudgeResult",
    "ReportedEstimate",
    "RubricReward",
    "RunConfig",
    "RunResult",
    "audit",
    "duel",
    "evaluate",
    "export",
    "load_config",
    "parse_config",
    "read_result",
    "rejudge",
    "reward",
    "run",
]

_HOME = {
    "AuditResult": "pop_selfplay.results",
    "DuelResult": "pop_selfplay.results",
    "EvalResult": "pop_selfplay.results",
    "Graded": "pop_selfplay.rewards",
    "RejudgeResult": "pop_selfplay.results",
    "ReportedEstimate": "pop_selfplay.results",
    "RubricReward": "pop_selfplay.rewards",
    "RunConfig": "pop_selfplay.config",
    "RunResult": "pop_selfplay.results",
    "audit": "pop_selfplay.api",
    "duel": "pop_selfplay.api",
    "evaluate": "pop_selfplay.api",
    "export": "pop_selfplay.api",
    "load_config": "pop_selfplay.config",
    "parse_config": "pop_selfplay.config",
    "read_result": "pop_selfplay.results",
    "rejudge": "pop_selfplay.api",
    "reward": "pop_selfplay.rewards",
    "run": "pop_selfplay.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
