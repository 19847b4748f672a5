"""Every limit of the audit, in one table. `pop audit RUN --threshold NAME=VALUE` sets another value.

A figure warns when its mean is beyond its limit. Values are where we would begin to worry, not where somebody proved harm: the
paper's own run would pass.

What an audit finds: figures in families, each with its interval, what it means in plain words, and whether it warns.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pop_selfplay.errors import UsageError
from pop_selfplay.results.audit import AuditFigure, Bound, DetailTable, FamilyResult, Form, MeasuredFigure, MissingFigure
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.stats.intervals import Estimate


class Limit(NamedTuple):
    """`at_least`: lower warns; `at_most`: higher warns."""

    side: Literal["at_least", "at_most"]
    value: float

    @property
    def reported(self) -> Bound:
        """The limit as audit.json holds it."""
        return {self.side: self.value}

    def passed_by(self, mean: float) -> bool:
        return mean < self.value if self.side == "at_least" else mean > self.value


Thresholds = Mapping[str, Limit]

THRESHOLDS: Final[dict[str, Limit]] = {
    "gap.spearman": Limit("at_least", 0.2),  # the paper lives with 0.34
    "gap.best_worst": Limit("at_least", 0.7),  # paper: 0.85
    "gap.document_gain": Limit("at_least", 0.0),  # the document should help the rubric
    "gap.judge_by_rubric": Limit("at_least", 0.5),
    "diversity.near_duplicates": Limit("at_most", 0.1),
    "diversity.of_documents": Limit("at_least", 0.5),  # effective problems for each effective document
    "diversity.own_document": Limit("at_least", 0.5),
    "rubrics.gold": Limit("at_least", 0.5),
    "rubrics.generic": Limit("at_most", 0.1),
    "rubrics.rate_all_alike": Limit("at_most", 0.4),
    "rubrics.redundant": Limit("at_most", 0.3),
    "rubrics.reference_below_median": Limit("at_most", 0.2),
    "bias.length": Limit("at_most", 0.3),  # size of the rank correlation
    "bias.longer_chosen": Limit("at_most", 0.7),
    "bias.flips": Limit("at_most", 0.3),
    "bias.repeat_greedy": Limit("at_least", 0.9),
    "bias.repeat_sampled": Limit("at_least", 0.8),
    "bias.ties": Limit("at_most", 0.5),
    "bias.top_score": Limit("at_most", 0.5),
    "bias.refusals": Limit("at_most", 0.1),
    "bias.refusals_chosen": Limit("at_most", 0.02),
    "bias.copies": Limit("at_most", 0.1),
    "modes.best_worst": Limit("at_least", 0.8),
    "hacking.drift": Limit("at_most", 0.05),  # of the whole scale
    "yield.kept": Limit("at_least", 0.5),
    "yield.refused": Limit("at_most", 0.2),
    "yield.echoes": Limit("at_most", 0.0),
}


def limits_with(settings: Iterable[str]) -> Thresholds:
    """Return the table with `NAME=VALUE` settings applied.

    Raises UsageError for an unknown name or a value that is no number.
    """
    limits = dict(THRESHOLDS)
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if name not in limits or not math.isfinite(value):
            known = ", ".join(f"{name}={limit.value:g}" for name, limit in THRESHOLDS.items())
            raise UsageError(f"--threshold {setting!r} needs one of these names and a number: {known}")
        limits[name] = limits[name]._replace(value=value)
    return limits


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
