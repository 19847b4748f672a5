"""Every limit of the audit, in one table. `pop audit RUN --threshold NAME=VALUE` sets another value.

A figure warns when its mean is beyond its limit. Values are where we would begin to worry, not where somebody proved harm: the
paper's own run would pass.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from pop_selfplay.errors import UsageError


class Limit(NamedTuple):
    """`at_least`: lower warns; `at_most`: higher warns."""

    side: Literal["at_least", "at_most"]
    value: float

    def passed_by(self, mean: float) -> bool:
        return mean < self.value if self.side == "at_least" else mean > self.value


Limits = Mapping[str, Limit]

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
}


def limits_with(settings: Iterable[str]) -> Limits:
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
            raise UsageError(f"--threshold {setting!r} must be one of these names with a number: {known}")
        limits[name] = limits[name]._replace(value=value)
    return limits
