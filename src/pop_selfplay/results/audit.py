"""audit.json: the figures of an audit in families, each with what it means, its limit, and whether it warns.

rejudge.json: which pairs of a run change when another judge, prompt or mode scores its answers.
"""

from typing import Literal

from pydantic import Field

from pop_selfplay.records import Record
from pop_selfplay.results.base import Count, Number, ReportedEstimate, Result

Form = Literal["share", "number"]
"""How a value is shown: a share in percent, a number as it is."""

Bound = dict[Literal["at_least", "at_most"], Number]
"""One entry: the side of the limit, `at_least` (lower warns) or `at_most` (higher warns) → its value."""


class _Named(Record):
    name: str = Field(description="the name of the figure in its family")
    label: str = Field(description="the same for people")
    form: Form = Field(description="share: 0 to 1, shown in percent; number: shown as it is")


class _Read(Record):
    reading: str = Field(description="what the value means, in plain words; empty where it is missing")
    limit: Bound | None = Field(description="the limit: its side, at_least or at_most → its value; null without one")
    warns: bool = Field(description="whether the mean is beyond the limit")
    paper: str = Field(description="the paper's value, empty where it has none")
    missing: str = Field(description="why it could not be measured, empty where it was")


class MeasuredFigure(_Read, ReportedEstimate, _Named):
    """A figure with its 95 % interval."""


class MissingFigure(_Read, _Named):
    """A figure that could not be measured; `missing` says why."""


AuditFigure = MeasuredFigure | MissingFigure


class DetailTable(Record):
    """A small table beside the figures."""

    title: str = Field(description="what it shows")
    columns: tuple[str, ...] = Field(description="the heads of its columns")
    rows: tuple[tuple[str, ...], ...] = Field(description="its rows, one text for each column")


class FamilyResult(Record):
    """The figures that answer one question."""

    name: str = Field(description="the family")
    question: str = Field(description="the question that its figures answer")
    figures: tuple[AuditFigure, ...] = Field(description="its figures, measured or missing")
    details: tuple[DetailTable, ...] = Field(description="small tables beside the figures")


class AuditResult(Result):
    """The content of audit.json: can the signal of a run be trusted?"""

    round: int = Field(ge=1, description="the round that was audited")
    scored: Count = Field(description="scored problems that were read, 2000 at most")
    sample: Count = Field(description="problems that were played again")
    judge: str = Field(description="the second judge as it was named, empty without one")
    warnings: tuple[str, ...] = Field(description="family.name of every figure that warns")
    families: tuple[FamilyResult, ...] = Field(description="the families of figures")
    thresholds: dict[str, Bound] = Field(description="every limit as it was applied: name → side → value")


class PairShare(Record):
    """Some of the pairs of a round: how many, and their share."""

    pairs: Count = Field(description="how many")
    share: ReportedEstimate = Field(description="of the pairs before (of `new`: of the pairs now), 0 to 1, by whole documents")


class RejudgedRound(Record):
    """What became of the pairs of one round. Each pair before is kept, replaced, flipped or dropped."""

    round: int = Field(ge=1, description="the round")
    compared: Count = Field(description="episodes that were scored again, or failed before any judge was asked")
    pairs_before: Count = Field(description="pairs by the scores of the run")
    pairs: Count = Field(description="pairs by the scores now")
    kept: PairShare = Field(description="the very same chosen and rejected answer")
    replaced: PairShare = Field(description="a pair still, with another chosen or rejected answer")
    flipped: PairShare = Field(description="a pair still, and the answer that was rejected now scores above the chosen one")
    dropped: PairShare = Field(description="no pair any more")
    new: PairShare = Field(description="a pair where there was none")
    order: ReportedEstimate = Field(
        description="share of the pairs before whose chosen answer scores above the rejected one now, too, ties half, 0 to 1"
    )
    spearman: ReportedEstimate = Field(
        description="rank correlation of both scorings within a problem, -1 to 1; n counts problems"
    )


Outcome = Literal["replaced", "flipped", "dropped", "new"]


class PairChange(Record):
    """A pair that changes. Answers are the numbers of candidates."""

    episode: str = Field(description="the episode's id, in both runs")
    outcome: Outcome = Field(description="replaced, flipped, dropped or new")
    chosen_before: int | None = Field(description="the chosen answer before; null where there was no pair")
    rejected_before: int | None = Field(description="the rejected answer before; null where there was no pair")
    chosen: int | None = Field(description="the chosen answer now; null where there is no pair")
    rejected: int | None = Field(description="the rejected answer now; null where there is no pair")
    reason: str = Field(description="why there is no pair, now or before, as stage.reason; empty where there is one in both")


class RejudgeResult(Result):
    """The content of rejudge.json: which pairs of a run change when another judge, prompt or mode scores its answers."""

    run: str = Field(description="the directory of the run whose answers were scored again")
    judge_before: str = Field(description="who scored the run: the model under which its calls are stored, of the first round")
    judge: str = Field(description="who scores now, as it was named; as before where nobody was")
    scoring_before: str = Field(description="the scoring mode of the run")
    scoring: str = Field(description="the scoring mode now")
    prompt: str = Field(description="the file of the judge's prompt; empty where it is the run's own")
    by_round: tuple[RejudgedRound, ...] = Field(description="one entry for each round that has finished episodes")
    changes: tuple[PairChange, ...] = Field(description="every pair that changes, by round and episode")
