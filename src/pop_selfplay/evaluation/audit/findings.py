"""What an audit finds: figures in families, each with its interval, what it means in plain words, and whether it warns."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pop_selfplay.core.stats import Estimate
from pop_selfplay.evaluation.audit.thresholds import Limit, Limits

Form = Literal["share", "number"]
"""How a value is shown: a share in percent, a number as it is."""


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

    def as_json(self) -> dict[str, Any]:
        measured = {} if self.estimate is None else self.estimate.as_json()
        limit = None if self.limit is None else {self.limit.side: self.limit.value}
        own = {"name": self.name, "label": self.label, "form": self.form, **measured, "reading": self.reading}
        return own | {"limit": limit, "warns": self.warns, "paper": self.paper, "missing": self.missing}


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
    limits: Limits
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
            self.missing(name, label, "there is nothing to measure it on")
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

    def as_json(self) -> dict[str, Any]:
        details = [{"title": d.title, "columns": list(d.columns), "rows": [list(row) for row in d.rows]} for d in self.details]
        figures = [figure.as_json() for figure in self.figures]
        return {"name": self.name, "question": self.question, "figures": figures, "details": details}


def _near(limit: float, mean: float, size: bool) -> float:
    """Return the limit on the side of zero on which the mean lies."""
    return -limit if size and mean < 0 else limit
