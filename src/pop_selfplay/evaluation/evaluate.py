"""From scored items to the table: each figure of base and model, and the paired difference, with 95 % intervals.

Differences are paired by item: only items that both models have a score for count, and all answers to one item (its epochs) are
one cluster, as are items that the benchmark calls alike. A benchmark has regressed when the whole interval of the difference of
its first figure lies below zero.

One evaluation: every benchmark of a suite on the model and on the one it is compared with, and the table of the results.

    for the base, then the model:
        for each benchmark:  items → answers → scores        (benchmarks/, run by inspect_ai)
    paired differences with bootstrap intervals               (below)

What is finished is in the journal of the directory: a benchmark as a whole under the settings it ran with, and before that
every single call. So a killed evaluation goes on where it stopped.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks import load_tasks
from pop_selfplay.evaluation.benchmarks.base import SUFFIXES, Item, Row, Setup, Tasks, baseline_answers, read_rows
from pop_selfplay.evaluation.eval_dir import CachedModel, EvalDir, open_eval_dir, reporting
from pop_selfplay.evaluation.specs import EvalSpec, ModelSpec, SuiteEntry
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.notes import Note
from pop_selfplay.journal.tally import Tally
from pop_selfplay.models.base import Notice
from pop_selfplay.records import Role
from pop_selfplay.results.base import PairedFigure, ReportedEstimate
from pop_selfplay.results.evaluation import BenchmarkResult, DecodingResult, EvalResult, Logs, Lost
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stats.intervals import Estimate, Range, Totals, bootstrap_totals, bounded, clustered_mean, totals_by_cluster
from pop_selfplay.tasks import run_to_end


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


RESULT: Final = "eval.json"
EVALUATION: Final = "evaluation"
"""The directory of a run that holds its evaluation."""

BENCHMARK: Final[Note[BenchmarkOutcome]] = Note("benchmark/{}/{}", BenchmarkOutcome)
"""What one model came to on one benchmark, under its name and a hash of the settings that decide it."""


@dataclass(frozen=True)
class _Prepared:
    """A benchmark ready to run: its code, its local rows, its worked examples where any are asked for, and the answers that
    `versus` ones compare with, if from a file."""

    choice: SuiteEntry
    tasks: Tasks
    rows: list[Row] | None
    examples: list[Row] | None
    baseline: dict[str, str] | None


@dataclass(frozen=True)
class _Work:
    """What every part of one evaluation needs."""

    plan: EvalSpec
    place: EvalDir
    judge: CachedModel | None
    tell: Notice


def evaluate_in(out: Path, plan: EvalSpec, tell: Notice = lambda line: None) -> EvalResult:
    """Run `plan` in the directory `out`, write eval.json there and return its content. Called again it does what is left.

    Raises what `evaluate` raises, UsageError when model and base are the same, and JournalError when `out` cannot be used.
    """
    if plan.against is not None and plan.against.identity == plan.model.identity:
        raise UsageError(f"{plan.model.label} and {plan.against.label} are the same model: name another, such as RUN#N")
    with open_eval_dir(out) as place:
        result = run_to_end(evaluate(plan, place, tell))
        write_atomically(place.path / RESULT, result.to_json())
    return result


async def evaluate(plan: EvalSpec, place: EvalDir, tell: Notice) -> EvalResult:
    """Run `plan` in `place` and return its result, the content of eval.json. `tell` hears what begins and how far it is.

    Raises UsageError or ConfigError before the first call when a judge, a package or a data file is missing.
    """
    prepared = [_prepare(plan, choice) for choice in plan.choices]
    judge = None if plan.judge is None else CachedModel(plan.judge, Role.JUDGE, place.journal, plan.seed, tell)
    work = _Work(plan, place, judge, tell)
    try:
        base = None if plan.against is None else await _measure_all(work, prepared, plan.against, None)
        model = await _measure_all(work, prepared, plan.model, base)
    finally:
        if judge is not None:
            await judge.close()
    return evaluation_result(plan, [ready.tasks for ready in prepared], model, base, place.journal.tally)


def _prepare(plan: EvalSpec, choice: SuiteEntry) -> _Prepared:
    benchmark = choice.benchmark
    if benchmark.judged and plan.judge is None:
        raise UsageError(f"benchmark {benchmark.name} needs a judge: name one with --judge")
    rows = examples = baseline = None
    if plan.data_dir is not None:
        rows = read_rows(plan.data_dir, benchmark.name)
        if rows is None and not benchmark.shipped:
            expected = " or ".join(f"{benchmark.name}{suffix}" for suffix in SUFFIXES)
            raise ConfigError(f"{plan.data_dir} has no data for benchmark {benchmark.name}: expected {expected}")
        examples = read_rows(plan.data_dir, benchmark.examples) if choice.all_options.get("fewshot") else None
        baseline = baseline_answers(plan.data_dir, benchmark.name) if benchmark.versus else None
    if benchmark.versus == "needed" and baseline is None and plan.against is None:
        raise UsageError(
            f"benchmark {benchmark.name} compares answers: name another model with --against, or put its answers into "
            f"{benchmark.name}_baseline.jsonl in the data directory"
        )
    return _Prepared(choice, load_tasks(benchmark), rows, examples, baseline)


async def _measure_all(
    work: _Work, prepared: Sequence[_Prepared], spec: ModelSpec, base: dict[str, BenchmarkOutcome] | None
) -> dict[str, BenchmarkOutcome]:
    """Return benchmark → what `spec` came to. The model is opened only if something is left to run, and closed."""
    done: dict[str, BenchmarkOutcome] = {}
    model = CachedModel(spec, Role.SOLVER, work.place.journal, work.plan.seed, work.tell)
    try:
        for ready in prepared:
            name = ready.choice.name
            baseline = ready.baseline
            if baseline is None and ready.choice.benchmark.versus and base is not None:
                baseline = base[name].answers
            key = (name, f"{_settings_of(work.plan, ready, spec, baseline):016x}")
            measured = BENCHMARK.read(work.place.journal, *key)
            if measured is None:
                work.tell(f"{name}: {spec.label} …")
                measured = await _measure(work, ready, model, baseline)
                BENCHMARK.write(work.place.journal, measured, *key)
            done[name] = measured
    finally:
        await model.close()
    return done


async def _measure(work: _Work, ready: _Prepared, model: CachedModel, baseline: dict[str, str] | None) -> BenchmarkOutcome:
    from pop_selfplay.evaluation.inspect_adapter import build_task, inspect_model, run_task

    plan, choice = work.plan, ready.choice
    model.begin(choice.name)
    judging = None
    if work.judge is not None and choice.benchmark.judged:
        work.judge.begin(f"{choice.name} {model.spec.identity}")
        judging = inspect_model(work.judge)
    setup = Setup(choice.benchmark, ready.rows, ready.examples, judging, baseline, choice.all_options)
    task = build_task(ready.tasks, setup)
    async with reporting(lambda: work.tell(f"  {choice.name}: {_progress(model, work.judge if judging else None)}")):
        ran = await run_task(
            task,
            inspect_model(model, choice.decoding),
            judging,
            choice.decoding,
            limit=plan.limit_of(choice),
            seed=plan.seed,
            logs=work.place.logs,
        )
    keep_answer = bool(choice.benchmark.versus)
    items = tuple(_item(ready.tasks, sample, keep_answer=keep_answer) for sample in ran.samples)
    log, root = Path(ran.log.removeprefix("file://")), work.place.path.resolve()
    return BenchmarkOutcome(items, str(log.relative_to(root) if log.is_relative_to(root) else log))


def _progress(model: CachedModel, judge: CachedModel | None) -> str:
    judged = "" if judge is None else f", {judge.answered:,} by the judge"
    return f"{model.answered:,} answers{judged}"


def _item(tasks: Tasks, sample: Any, *, keep_answer: bool) -> Item:
    """Return what one sample came to, with its answer where another model is compared with it."""
    id_ = str(sample.id)
    if sample.error is not None:
        return Item(id_, sample.epoch, lost="error", detail={"error": str(sample.error.message)[:500]})
    read = tasks.read(sample)
    if isinstance(read, str):
        return Item(id_, sample.epoch, lost=read)
    detail = {**read.detail, "answer": sample.output.completion} if keep_answer else read.detail
    return Item(id_, sample.epoch, read.figures, detail=detail, cluster=read.cluster)


def _settings_of(plan: EvalSpec, ready: _Prepared, spec: ModelSpec, baseline: dict[str, str] | None) -> int:
    """Return a hash of all that decides what a benchmark comes to: a finished one counts only for the very same settings."""
    choice = ready.choice
    settings = [
        *(choice.name, list(choice.decoding), choice.all_options, plan.limit_of(choice), plan.seed),
        *(ready.rows, baseline, spec.identity, _identity(plan.judge) if choice.benchmark.judged else ""),
        *([] if ready.examples is None else [ready.examples]),
    ]
    return derive_seed(json.dumps(settings, sort_keys=True, default=str))


def _identity(spec: ModelSpec | None) -> str:
    return "" if spec is None else spec.identity
