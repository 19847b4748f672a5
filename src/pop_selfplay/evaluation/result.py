"""From scored items to the table: each figure of base and model, and the paired difference, with 95 % bootstrap intervals.

Differences are paired by item: only items that both models have a score for count, and all answers to one item (its epochs) are
one cluster, as are items that the benchmark calls alike. A benchmark has regressed when the whole interval of the difference of
its first figure lies below zero.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pop_selfplay.evaluation.benchmarks.base import Item, Tasks
from pop_selfplay.journal.tally import Tally
from pop_selfplay.stats.bootstrap import Totals, bootstrap_mean, bootstrap_totals, totals_by_cluster
from pop_selfplay.stats.intervals import Estimate, Range, bounded

if TYPE_CHECKING:
    from pop_selfplay.evaluation.evaluate import Plan

SCHEMA: Final = 1


@dataclass(frozen=True)
class Measured:
    """What one model came to on one benchmark: every answer, scored or lost, and the log (relative to the workplace)."""

    items: Sequence[Item]
    log: str

    @property
    def scored(self) -> list[Item]:
        return [item for item in self.items if not item.lost]

    @property
    def lost(self) -> dict[str, int]:
        """Reason → how many answers have no score for it."""
        return dict(sorted(Counter(item.lost for item in self.items if item.lost).items()))

    @property
    def answers(self) -> dict[str, str]:
        """Item id → the first answer to it, for benchmarks that compare with it."""
        return {item.id: item.detail["answer"] for item in reversed(self.items) if "answer" in item.detail}


def evaluation_result(
    plan: "Plan", tasks: Sequence[Tasks], model: dict[str, Measured], base: dict[str, Measured] | None, tally: Tally
) -> dict[str, Any]:
    """Return the content of eval.json; docs/evaluation.md tells every field."""
    rows = [_row(plan, choice_tasks, index, model, base) for index, choice_tasks in enumerate(tasks)]
    return {
        "schema": SCHEMA,
        "suite": plan.suite,
        "seed": plan.seed,
        "model": plan.model.label,
        "against": None if plan.against is None else plan.against.label,
        "judge": None if plan.judge is None else plan.judge.label,
        "benchmarks": rows,
        "regressed": [row["name"] for row in rows if row["regressed"]],
        "calls": {role: sum(reasons.values()) for role, reasons in tally.calls_by_role().items()},
        "tokens": {kind: tally.total_tokens(kind) for kind in ("prompt", "cached", "generated")},
    }


def _row(
    plan: "Plan", tasks: Tasks, index: int, model: dict[str, Measured], base: dict[str, Measured] | None
) -> dict[str, Any]:
    choice = plan.choices[index]
    benchmark = choice.benchmark
    ours, theirs = model[choice.name], None if base is None else base[choice.name]
    within = (benchmark.lowest, benchmark.scale)
    figures = {
        name: figure(name, ours.items, theirs.items if theirs else None, plan.seed, within) for name in benchmark.figures
    }
    difference = figures[benchmark.figures[0]]["difference"]
    return {
        "name": choice.name,
        "title": benchmark.title,
        "scale": benchmark.scale,
        "limit": plan.limit_of(choice),
        "decoding": choice.decoding._asdict(),
        "options": choice.all_options,
        "figures": figures,
        "summary": {name: e.as_json() for name, e in tasks.summary(ours.scored, plan.seed).items()},
        "lost": {"base": theirs.lost if theirs else {}, "model": ours.lost},
        "logs": {"base": theirs.log if theirs else None, "model": ours.log},
        "regressed": difference is not None and regressed(difference),
    }


def regressed(difference: dict[str, Any]) -> bool:
    """Return whether the whole 95 % interval of a difference lies below zero. An unknown interval is no proof."""
    high = difference["high"]
    return high is not None and high < 0


def figure(name: str, model: Sequence[Item], base: Sequence[Item] | None, seed: int, within: Range) -> dict[str, Any]:
    """Return base, model and difference of one figure as JSON estimates; base and difference are None without a base.

    `within` is the range of the figure's values.
    """
    return {
        "base": None if base is None else _mean(name, base, seed, within).as_json(),
        "model": _mean(name, model, seed, within).as_json(),
        "difference": None if base is None else paired(name, base, model, seed, within).as_json(),
    }


def paired(name: str, base: Sequence[Item], model: Sequence[Item], seed: int, within: Range) -> Estimate:
    """Return the model's figure minus the base's over the items that both have it for; n counts items, not answers."""
    have = [{item.id for item in items if name in item.figures} for items in (base, model)]
    both = have[0] & have[1]
    parts, clusters = [], []
    for side, items in enumerate((base, model)):
        for item in items:
            if item.id in both and name in item.figures:
                value, weight = item.figures[name]
                own = (weight * value, weight)
                parts.append((*own, 0.0, 0.0) if side == 0 else (0.0, 0.0, *own))
                clusters.append(item.group)
    totals, most = totals_by_cluster(parts, clusters), within[1] - within[0]
    return bounded(bootstrap_totals(_gain, totals, len(both), seed=seed), len(totals), (-most, most))


def _gain(sums: Totals) -> npt.NDArray[np.float64]:
    return sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]


def _mean(name: str, items: Sequence[Item], seed: int, within: Range) -> Estimate:
    """Return the weighted mean of a figure, clustered by item; n counts items."""
    scored = [item for item in items if name in item.figures]
    values, weights = [item.figures[name].value for item in scored], [item.figures[name].weight for item in scored]
    found = bootstrap_mean(values, [item.group for item in scored], weights=weights, seed=seed, within=within)
    return found._replace(n=len({item.id for item in scored}))
