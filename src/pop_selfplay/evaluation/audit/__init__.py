"""Audit of a run: can its signal be trusted? (paper, 5.5, and more)

    audit.py       the whole audit, from a run directory to its figures
    findings.py    figures, families, and what makes a warning
    sample.py      what is audited: the round, a sample of its episodes; and what scores are compared with
    probes.py      what the audit plays itself with the run's models, stored in audit.db
    gap.py diversity.py bias.py hacking.py people.py yields.py   families of figures

A family is a function from the audited round to a `Family`; where something cannot be measured it does not raise, but says why.
The next family is such a function, a line in `audit.py`, and limits in the table here, `THRESHOLDS`: a figure warns when its
mean is beyond its limit, and `pop audit RUN --threshold NAME=VALUE` sets another value. Values are where we would begin to
worry, not where somebody proved harm: the paper's own run would pass.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from pop_selfplay.errors import UsageError
from pop_selfplay.results.audit import Bound


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
    "people.kappa": Limit("at_least", 0.4),  # "moderate" by Landis and Koch 1977
    "people.best_worst": Limit("at_least", 0.7),
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
