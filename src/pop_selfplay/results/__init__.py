"""The four result files as types: what `pop run`, `pop eval`, `pop audit` and `pop duel` write, and the API returns.

    base.py        what they share: an estimate with its interval, and how a result is written and read
    run.py         result.json
    evaluation.py  eval.json
    audit.py       audit.json
    duel.py        duel.json

`pop schema` prints their JSON schemas; docs/schemas/ holds the published copies. A new figure is a field with a description in
one of these files, and the published copy is written again (`pop schema result > docs/schemas/result.json`). A field that is
added needs a default, so that files written before can still be read; one that changes its meaning needs a new `schema` number.
"""

from pop_selfplay.results.audit import AuditResult
from pop_selfplay.results.base import ReportedEstimate, Result
from pop_selfplay.results.duel import DuelResult
from pop_selfplay.results.evaluation import EvalResult
from pop_selfplay.results.reading import RESULT_FILES, read_result
from pop_selfplay.results.run import RunResult

__all__ = [
    "RESULT_FILES",
    "AuditResult",
    "DuelResult",
    "EvalResult",
    "ReportedEstimate",
    "Result",
    "RunResult",
    "read_result",
]
