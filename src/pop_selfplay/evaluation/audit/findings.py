"""What an audit finds: figures in families, each with its interval, what it means in plain words, and whether it warns."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from pop_selfplay.evaluation.audit import Limit, Thresholds
from pop_selfplay.results.audit import AuditFigure, DetailTable, FamilyResult, Form, MeasuredFigure, MissingFigure
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.stats.intervals import Estimate


class Figure(NamedTuple):
    """One figure. `missing` says why it could not be measured, and then there is no estimate. `paper` is the paper's value."""

    name: str
    label: str
    form: Form
    estimate: Estimate | None
    reading: str
    limit: Limit | None = None
    warns: bool = False
    paper: str = ""
    missing: str = ""

    @property
    def reported(self) -> AuditFigure:
        """The figure as audit.json holds it."""
        limit = None if self.limit is None else self.limit.reported
        if self.estimate is None:
            return MissingFigure(
                name=self.name,
                label=self.label,
                form=self.form,
                reading=self.reading,
                limit=limit,
                warns=self.warns,
                paper=self.paper,
                missing=self.missing,
            )
        found = ReportedEstimate.of(self.estimate)
        return MeasuredFigure(
            name=self.name,
            label=self.label,
            form=self.form,
            mean=found.mean,
            low=found.low,
            high=found.high,
            n=found.n,
            reading=self.reading,
            limit=limit,
            warns=self.warns,
            paper=self.paper,
            missing=self.missing,
        )


class Detail(NamedTuple):
    """A small table beside the figures: counts by reason, a distribution, figures by round."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Family:
    """The figures of one question. Add to it with `measured` and `missing`."""

    name: str
    question: str
    limits: Thresholds
    figures: list[Figure] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)

    def measured(
        self,
        name: str,
        label: str,
        estimate: Estimate,
        *,
        good: str,
        bad: str = "",
        form: Form = "share",
        limit: str = "",
        size: bool = False,
        paper: str = "",
    ) -> None:
        """Add a figure. It reads `good`, or `bad` where it is beyond the limit of the name `limit`, "" for no limit.

        `size`: the limit is for the absolute value. An estimate over nothing is a missing figure.
        """
        if not math.isfinite(estimate.mean):
            self.missing(name, label, "there is nothing to measure")
            return
        known = self.limits[limit] if limit else None
        warns = known is not None and known.passed_by(abs(estimate.mean) if size else estimate.mean)
        reading = bad if warns else good
        if known is not None and estimate.low < _near(known.value, estimate.mean, size) < estimate.high:
            reading += " (not certain: the limit lies within the interval)"
        self.figures.append(Figure(name, label, form, estimate, reading, known, warns, paper))

    def missing(self, name: str, label: str, why: str) -> None:
        """Add a figure that could not be measured, and why."""
        self.figures.append(Figure(name, label, "number", None, "", missing=why))

    @property
    def reported(self) -> FamilyResult:
        """The family as audit.json holds it."""
        figures = tuple(figure.reported for figure in self.figures)
        details = tuple(DetailTable(title=d.title, columns=d.columns, rows=d.rows) for d in self.details)
        return FamilyResult(name=self.name, question=self.question, figures=figures, details=details)


def _near(limit: float, mean: float, size: bool) -> float:
    """Return the limit on the side of zero on which the mean lies."""
    return -limit if size and mean < 0 else limit
