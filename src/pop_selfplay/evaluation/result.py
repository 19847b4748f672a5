"""From scored items to the table: each figure of base and model, and the paired difference, with 95 % intervals.

Differences are paired by item: only items that both models have a score for count, and all answers to one item (its epochs) are
one cluster, as are items that the benchmark calls alike. A benchmark has regressed when the whole interval of the difference of
its first figure lies below zero.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pop_selfplay.evaluation.benchmarks.base import Item, Tasks
from pop_selfplay.evaluation.suites import EvalSpec
from pop_selfplay.journal.tally import Tally
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.evaluation import BenchmarkResult, DecodingResult, EvalResult, Logs, Lost, PairedFigure
from pop_selfplay.stats.bootstrap import Totals, bootstrap_totals, totals_by_cluster
from pop_selfplay.stats.intervals import Estimate, Range, bounded, clustered_mean


@dataclass(frozen=True)
class BenchmarkOutcome:
    """What one model came to on one benchmark: every answer, scored or lost, and the log (relative to the directory)."""

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
    plan: EvalSpec,
    tasks: Sequence[Tasks],
    model: dict[str, BenchmarkOutcome],
    base: dict[str, BenchmarkOutcome] | None,
    tally: Tally,
) -> EvalResult:
    """Return the content of eval.json; docs/evaluation.md tells every field."""
    rows = [_row(plan, choice_tasks, index, model, base) for index, choice_tasks in enumerate(tasks)]
    return EvalResult(
        suite=plan.suite,
        seed=plan.seed,
        model=plan.model.label,
        against=None if plan.against is None else plan.against.label,
        judge=None if plan.judge is None else plan.judge.label,
        benchmarks=tuple(rows),
        regressed=tuple(row.name for row in rows if row.regressed),
        calls={role: sum(reasons.values()) for role, reasons in tally.calls_by_role().items()},
        tokens=tally.all_tokens(),
    )


def _row(
    plan: EvalSpec, tasks: Tasks, index: int, model: dict[str, BenchmarkOutcome], base: dict[str, BenchmarkOutcome] | None
) -> BenchmarkResult:
    choice = plan.choices[index]
    benchmark = choice.benchmark
    ours, theirs = model[choice.name], None if base is None else base[choice.name]
    within = (benchmark.lowest, benchmark.scale)
    figures = {
        name: figure(name, ours.items, theirs.items if theirs else None, plan.seed, within) for name in benchmark.figures
    }
    difference = figures[benchmark.figures[0]].difference
    return BenchmarkResult(
        name=choice.name,
        title=benchmark.title,
        scale=benchmark.scale,
        limit=plan.limit_of(choice),
        decoding=DecodingResult.model_validate(choice.decoding._asdict()),
        options=choice.all_options,
        figures=figures,
        summary={name: ReportedEstimate.of(e) for name, e in tasks.summary(ours.scored, plan.seed).items()},
        lost=Lost(base=theirs.lost if theirs else {}, model=ours.lost),
        logs=Logs(base=theirs.log if theirs else None, model=ours.log),
        regressed=difference is not None and regressed(difference),
    )


def regressed(difference: ReportedEstimate) -> bool:
    """Return whether the whole 95 % interval of a difference lies below zero. An unknown interval is no proof."""
    return difference.high is not None and difference.high < 0


def figure(name: str, model: Sequence[Item], base: Sequence[Item] | None, seed: int, within: Range) -> PairedFigure:
    """Return base, model and difference of one figure; base and difference are None without a base.

    `within` is the range of the figure's values.
    """
    return PairedFigure(
        base=None if base is None else ReportedEstimate.of(_mean(name, base, within)),
        model=ReportedEstimate.of(_mean(name, model, within)),
        difference=None if base is None else ReportedEstimate.of(paired(name, base, model, seed, within)),
    )


def paired(name: str, base: Sequence[Item], model: Sequence[Item], seed: int, within: Range) -> Estimate:
    """Return the model's figure minus the base's over the items that both have it for; n counts items, not answers.

    The interval is that of the mean difference of the clusters. Where the two sides weigh them differently (verdicts that count
    three times), it is no such mean, and is resampled with `seed`.
    """
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
    if len(totals) and np.allclose(totals[:, 1], totals[:, 3]):
        gains = ((totals[:, 2] - totals[:, 0]) / totals[:, 1]).tolist()
        found = clustered_mean(gains, range(len(gains)), (-most, most), weights=totals[:, 1].tolist())
        return found._replace(n=len(both))
    return bounded(bootstrap_totals(_gain, totals, len(both), seed=seed), len(totals), (-most, most))


def _gain(sums: Totals) -> npt.NDArray[np.float64]:
    return sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]


def _mean(name: str, items: Sequence[Item], within: Range) -> Estimate:
    """Return the weighted mean of a figure, clustered by item; n counts items."""
    scored = [item for item in items if name in item.figures]
    values, weights = [item.figures[name].value for item in scored], [item.figures[name].weight for item in scored]
    found = clustered_mean(values, [item.group for item in scored], within, weights=weights)
    return found._replace(n=len({item.id for item in scored}))
