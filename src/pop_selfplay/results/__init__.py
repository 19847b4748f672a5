"""The five result files as types: what `pop run`, `eval`, `audit`, `duel` and `rejudge` write, and the API returns.

    base.py        what they share: an estimate with its interval, and how a result is written and read
    run.py         result.json
    evaluation.py  eval.json, duel.json
    audit.py       audit.json, rejudge.json

`pop schema` prints their JSON schemas; docs/schemas/ holds the published copies. A new figure is a field with a description in
one of these files, and the published copy is written again (`pop schema result > docs/schemas/result.json`). A field that is
added needs a default, so that files written before can still be read; one that changes its meaning needs a new `schema` number.
"""

import json
from os import PathLike
from pathlib import Path
from typing import Final, TypeVar, overload

from pydantic import ValidationError

from pop_selfplay.errors import UsageError, validation_text
from pop_selfplay.results.audit import AuditResult, RejudgeResult
from pop_selfplay.results.base import ReportedEstimate, Result
from pop_selfplay.results.evaluation import DuelResult, EvalResult
from pop_selfplay.results.run import RunResult

__all__ = [
    "RESULT_FILES",
    "AuditResult",
    "DuelResult",
    "EvalResult",
    "RejudgeResult",
    "ReportedEstimate",
    "Result",
    "RunResult",
    "read_result",
]

AnyResult = RunResult | EvalResult | AuditResult | DuelResult | RejudgeResult
R = TypeVar("R", RunResult, EvalResult, AuditResult, DuelResult, RejudgeResult)

RESULT_FILES: Final[dict[str, type[AnyResult]]] = {
    "result": RunResult,
    "eval": EvalResult,
    "audit": AuditResult,
    "duel": DuelResult,
    "rejudge": RejudgeResult,
}
"""Name of a result file, without its .json → its type."""

_TOLD_BY: Final[dict[str, type[AnyResult]]] = {
    "rounds": RunResult,
    "benchmarks": EvalResult,
    "families": AuditResult,
    "win_rate": DuelResult,
    "by_round": RejudgeResult,
}
"""Field that only one kind of result has → that kind."""

_SCHEMA: Final = 1


@overload
def read_result(path: str | PathLike[str]) -> AnyResult: ...
@overload
def read_result(path: str | PathLike[str], kind: type[R]) -> R: ...
def read_result(path: str | PathLike[str], kind: type[Result] | None = None) -> Result:
    """Return the content of a result file, such as result.json, eval.json or audit.json, whatever its name is now.

    With `kind`, the type of result that is expected, a file of another kind is refused. Raises UsageError for a file that is
    missing, damaged, written by a newer version, or no result.
    """
    path = Path(path)
    data = _content(path)
    found = next((of for field, of in _TOLD_BY.items() if field in data), None)
    if found is None or (kind is not None and found is not kind):
        expected = "a result of pop run, eval, audit, duel or rejudge" if kind is None else f"what {kind.__name__} describes"
        raise UsageError(f"{path} does not hold {expected}: name another file")
    version = data.get("schema")
    if isinstance(version, int) and version > _SCHEMA:
        raise UsageError(f"{path} has schema {version} but this version of pop reads {_SCHEMA}: update pop to read it")
    try:
        return found.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path} is damaged: {validation_text(error)}; run the command that made it again") from error


def _content(path: Path) -> dict[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no result file {path}: check the name; pop run writes result.json, pop eval eval.json, "
            "pop audit audit.json, pop duel duel.json and pop rejudge rejudge.json when they are done"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): name a result file") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise UsageError(f"{path} is damaged: it is not JSON ({error}); run the command that made it again") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a result file: it is not a JSON object")
    return data
