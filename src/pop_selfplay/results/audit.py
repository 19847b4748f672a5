"""audit.json: the figures of an audit in families, each with what it means, its limit, and whether it warns."""

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
