"""report.html: one static page without scripts, made from the result and some episodes of the journal.

The page itself is page.html.jinja, which escapes everything: what came from a document or a model is shown, never interpreted.
That of a directory of `pop eval` or `pop duel` is outcome.html.jinja, with the `Section`s that the viewer shows, too.
Here are the rows of its tables; those that the terminal shows, too, are in tables.py and eval_tables.py. The next section is a
heading in the template, and a function for its rows in `_ROWS`.
"""

import itertools
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from markupsafe import Markup

from pop_selfplay.config import NoMeasure, dump_config
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit.audit import RESULT as AUDIT
from pop_selfplay.evaluation.evaluate import EVALUATION
from pop_selfplay.evaluation.evaluate import RESULT as EVAL
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.method.problems import below_median, criterion_power, name_places, named_clusters
from pop_selfplay.pairing import pair_of, spread_of
from pop_selfplay.records import Episode, Failure, Role
from pop_selfplay.report import audit_tables, charts, eval_tables, tables
from pop_selfplay.report.tables import decimals, estimate_text
from pop_selfplay.results import AuditResult, DuelResult, EvalResult, RunResult, read_result
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import RoundResult
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.text.overlap import flattened, similarities
from pop_selfplay.text.words import count_words

if TYPE_CHECKING:
    from jinja2 import Template

R = TypeVar("R", EvalResult, AuditResult)
Cell = str | int | float

_SAMPLE: Final = 300
"""Episodes that distributions and the map are drawn from."""
ROUND_COLUMNS: Final = ("round", *tables.ROUND_COUNTS, "dropped", "pairs of problems", "seconds")
RUBRIC_COLUMNS: Final = ("round", "figure", "value [95 %]", "n")
CRITERION_COLUMNS: Final = ("criterion", "weight", "power", "gold", "description")


@dataclass(frozen=True)
class Page:
    """All that the template shows: `readers` are the roles that saw documents, `unmeasured` says why nothing was measured.

    `evaluation` and `audit` are there when the run has been evaluated and audited; `unreadable` says what is wrong with their
    files.
    """

    title: str
    readers: Sequence[str]
    result: RunResult
    unmeasured: str
    episodes: Sequence[tuple[str, Episode]]
    config: str
    versions: str = ""
    sampled: int = 0
    charts: Mapping[str, Markup] = field(default_factory=dict)
    evaluation: EvalResult | None = None
    audit: AuditResult | None = None
    unreadable: Sequence[str] = ()


def render_page(session: Session, result: RunResult) -> str:
    """Return the whole page for a run."""
    unreadable: list[str] = []
    path = session.directory.path
    sample = list(itertools.islice(_sampled(session), _SAMPLE))
    versions = path / "versions.json"
    return render(
        Page(
            title=f"pop: {result.domain}, seed {result.seed}",
            readers=[role.value.replace("_", " ") for role in Role if role in session.config.synthesis.document_for],
            result=result,
            unmeasured=_unmeasured(session),
            episodes=_shown(sample, session),
            config=dump_config(session.config),
            versions=versions.read_text(encoding="utf-8") if versions.is_file() else "",
            sampled=len(sample),
            charts=_charts(result, sample, path) if charts.drawable() else {},
            evaluation=_beside(path / EVALUATION / EVAL, EvalResult, unreadable),
            audit=_beside(path / AUDIT, AuditResult, unreadable),
            unreadable=unreadable,
        )
    )


def render(page: Page) -> str:
    """Return the HTML of a page."""
    return _template("page").render({**vars(page), "charts": defaultdict(str, page.charts)})


@cache
def _template(name: str) -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only who writes a page needs it

    loader = PackageLoader("pop_selfplay.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals.update(_ROWS)
    environment.globals.update(_COLUMNS)
    environment.filters.update({"audit_row": audit_tables.audit_row, "round_row": round_row})
    return environment.get_template(f"{name}.html.jinja")


class Section(NamedTuple):
    """A table of an evaluation or a duel, with a picture where one can be drawn."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    chart: Markup = Markup("")
    says: str = ""


def outcome_says(result: EvalResult | DuelResult) -> list[str]:
    """Return what was measured, and what has regressed."""
    judged = f", judge {result.judge}" if result.judge else ""
    if isinstance(result, EvalResult):
        said = f"{result.model} against {result.against or 'no base'}, suite {result.suite}{judged}."
        return [said, *eval_tables.evaluation_remarks(result)]
    return [f"{result.a} against {result.b}{judged}: {result.prompts.count:,} prompts of {result.prompts.source}."]


def sections_of(result: EvalResult | DuelResult, *, draw: bool = False) -> list[Section]:
    """Return the tables of a result; with `draw` and where pictures can be drawn, with those."""
    draw = draw and charts.drawable()
    if isinstance(result, EvalResult):
        shown = list(_base_and_model(result)) if draw else []
        chart = charts.intervals(shown, "first figure, %") if shown else Markup("")
        says = "Base (grey square) and model (blue dot), with 95 % intervals."
        return [Section("Benchmarks", eval_tables.EVALUATION_COLUMNS, eval_tables.evaluation_rows(result), chart, says)]
    counts = {"a is better": result.wins, "tie": result.ties, "b is better": result.losses}
    chart = charts.bars(counts, "verdicts", lost=["b is better"]) if draw else Markup("")
    found = [Section("Verdicts", eval_tables.DUEL_COLUMNS, eval_tables.duel_rows(result), chart, "What the judge said.")]
    if result.criteria is not None and result.criteria.by_name:
        rows = [(name, count.wins, count.ties, count.losses) for name, count in result.criteria.by_name.items()]
        found.append(Section("Criteria", ("criterion", "a is better", "alike", "b is better"), rows))
    return found


def _base_and_model(result: EvalResult) -> Iterator[charts.Interval]:
    for benchmark in result.benchmarks:
        figure = next(iter(benchmark.figures.values()), None)
        if figure is not None and figure.base is not None and benchmark.scale == 1:
            yield from _shown_as(f"{benchmark.title}: base", figure.base, 100)
            yield from _shown_as(f"{benchmark.title}: model", figure.model, 100)


def _shown_as(label: str, found: ReportedEstimate, scale: float) -> Iterator[charts.Interval]:
    if found.mean is not None and found.low is not None and found.high is not None:
        yield charts.Interval(label, scale * found.mean, scale * found.low, scale * found.high)


def duel_items(path: Path) -> list[Mapping[str, object]]:
    """Return the lines of a duel's items.jsonl in the directory `path`, in their order; none where there is no such file."""
    file = path / "items.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []  # a text may hold other ends of lines
    return [json.loads(line) for line in lines if line]


def write_outcome(path: Path, result: EvalResult | DuelResult) -> None:
    """Write the report.html of a directory of `pop eval` or `pop duel`."""
    items = sorted(duel_items(path), key=lambda item: derive_seed("shown", str(item["prompt"])))[:10]
    values = {"result": result, "says": outcome_says(result), "sections": sections_of(result, draw=True), "items": items}
    write_atomically(path / "report.html", _template("outcome").render(values))


def _beside(path: Path, kind: type[R], unreadable: list[str]) -> R | None:
    """Return the result at `path`, None where there is none. A file that cannot be read must not cost the run its report."""
    if not path.is_file():
        return None
    try:
        return read_result(path, kind)
    except UsageError as error:
        unreadable.append(str(error))
        return None


def _sampled(session: Session) -> Iterator[Episode]:
    """Yield the finished episodes of round 1 in an order that has nothing to do with their documents'."""
    ids = sorted(session.journal.finished_episodes(1), key=lambda id_: derive_seed("shown", id_))
    return (session.journal.episode(1, id_) for id_ in ids)


def _shown(sample: Sequence[Episode], session: Session) -> list[tuple[str, Episode]]:
    """Return up to ten episodes, each with why it is shown: wide, typical and narrow spreads, and some without a pair."""
    rules, seed = session.config.pairing, session.config.seed
    dropped = [e for e in sample if e.problem is not None and isinstance(pair_of(e, session.domain, rules, seed), Failure)]
    kept = sorted((e for e in sample if e not in dropped and len(e.evaluations) > 1), key=lambda e: spread_of(e.evaluations))
    narrow, middle = kept[:2], len(kept) // 2
    wide = [e for e in kept[:1:-1][:3] if e not in narrow]
    typical = [e for e in kept[max(0, middle - 1) : middle + 2] if e not in (*narrow, *wide)]
    parts = (("widest spread", wide), ("typical", typical), ("narrowest spread", narrow), ("no pair", dropped[:2]))
    return [(why, episode) for why, episodes in parts for episode in episodes]


def _charts(result: RunResult, sample: Sequence[Episode], path: Path) -> dict[str, Markup]:
    """Return the pictures by name; one that would show nothing is left out."""
    drawn = {}
    if measured := list(_before_and_after(result)):
        drawn["measure"] = charts.intervals(measured, tables.measure_title(result.measure))
    round_ = result.rounds[0]
    steps = dict(zip(tables.ROUND_COUNTS, tables.round_counts(round_), strict=True))
    funnel = {name: steps[name] for name in ("documents", "problems", "rubrics", "pairs")}
    lost = {f"lost: {reason}": count for reason, count in round_.dropped.items() if not reason.startswith("corpus.")}
    drawn["funnel"] = charts.bars(funnel | lost, "episodes of round 1", lost=list(lost))
    scored = [episode for episode in sample if len(episode.evaluations) > 1]
    scores = [[evaluation.score for evaluation in episode.evaluations] for episode in scored]
    if scores:
        every = {"all": list(itertools.chain(*scores)), "best": list(map(max, scores)), "worst": list(map(min, scores))}
        drawn["scores"] = charts.distributions(every, "score")
        lengths = {(e.id, c.index): count_words(c.answer) for e in scored for c in e.candidates}
        both = [(lengths[e.id, v.candidate], v.score) for e in scored for v in e.evaluations][:1000]
        drawn["length"] = charts.points([n for n, _ in both], [score for _, score in both], ("words of the answer", "score"))
        drawn |= _of_criteria(scored)
    if texts := [episode.problem.text for episode in sample if episode.problem]:
        xs, ys = flattened(similarities(texts))
        places = name_places(named_clusters(texts), xs, ys)
        names = [(tables.printable(name), *place) for name, place in places.items()]
        drawn["map"] = charts.points(xs, ys, ("first direction", "second direction"), names)
    used = Counter({f"{cost.role}, {kind}": 0 for cost in result.usage for kind in ("prompt", "generated")})
    for cost in result.usage:
        used.update({f"{cost.role}, prompt": cost.prompt, f"{cost.role}, generated": cost.generated})
    drawn["tokens"] = charts.bars(used, "tokens")
    return drawn | _of_training(path)


def _before_and_after(result: RunResult) -> Iterator[charts.Interval]:
    scale = 100 if tables.in_percent(result.measure) else 1
    for group, modes in result.measure.items():
        for mode, change in modes.items():
            name = f"{group.replace('_', ' ')}, {mode}"
            yield from _shown_as(f"{name}: before", change.before, scale)
            yield from _shown_as(f"{name}: after", change.after, scale)


def _of_criteria(scored: Sequence[Episode]) -> dict[str, Markup]:
    power: dict[str, list[float]] = {}
    for episode in scored:
        for each in criterion_power(episode.rubric, episode.evaluations) if episode.rubric else ():
            power.setdefault(each.criterion[:50], []).append(each.difference)
    most = sorted(power, key=lambda name: (-len(power[name]), name))[:12]
    means = {f"{tables.printable(name)} ({len(power[name])})": statistics.fmean(power[name]) for name in most}
    best_first = dict(sorted(means.items(), key=lambda item: -item[1]))
    return {"criteria": charts.bars(best_first, "mean difference between two candidates, 0 to 2")} if best_first else {}


def _of_training(path: Path) -> dict[str, Markup]:
    file = path / "models" / "round-1" / "metrics.jsonl"
    if not file.is_file():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    logged = [row for row in rows if "loss" in row and "step" in row]
    if len(logged) < 2:
        return {}
    lines = {"loss": [row["loss"] for row in logged]}
    if all("rewards/accuracies" in row for row in logged):
        lines["pairs in order"] = [row["rewards/accuracies"] for row in logged]
    return {"training": charts.curves([row["step"] for row in logged], lines)}


def _unmeasured(session: Session) -> str:
    if not session.config.training.trains:
        return "training.type is none, so there is no trained model to measure"
    if isinstance(session.config.measure, NoMeasure):
        return "measure.type is none"
    return "no trained model has been measured yet"


def round_row(round_: RoundResult) -> list[Cell]:
    """Return the cells of one round in the order of ROUND_COLUMNS."""
    proposer, seconds = round_.proposer, round_.seconds.model_dump()
    return [
        round_.round,
        *tables.round_counts(round_),
        tables.reasons_text(round_.dropped),
        "" if proposer is None else f"{proposer.pairs:,}; {tables.reasons_text(proposer.dropped)}",
        ", ".join(f"{phase} {value:.0f}" for phase, value in seconds.items()),
    ]


def rubric_rows(rounds: Sequence[RoundResult]) -> list[list[Cell]]:
    """Return one row of RUBRIC_COLUMNS for each round and figure; a figure over nothing is left out."""
    rows: list[list[Cell]] = []
    for round_ in rounds:
        figures = (
            (round_.criteria.std, "a criterion's ratings within a group: standard deviation, 0 to 1"),
            (
                round_.criteria.difference,
                "two candidates on one criterion: mean difference of ratings (its power), 0 to 2",
            ),
            (round_.criteria.rate_all_alike, "criteria by which all candidates of a group fare alike, share"),
            (round_.verify_agreement, "boxed answers: a right one scores above a wrong one, share; 0.5 is chance"),
        )
        number, shown = str(round_.round), decimals(3)
        rows += [[number, meaning, estimate_text(figure, shown), figure.n] for figure, meaning in figures if figure.n]
        references = round_.reference_answers
        if references.scored:
            share = shown(references.below_median / references.scored)
            rows.append([number, "reference answers that score below the median candidate, share", share, references.scored])
    return rows


def candidate_rows(episode: Episode) -> list[list[Cell]]:
    """Return the score and the answer of each scored candidate, best first."""
    scores = {evaluation.candidate: evaluation.score for evaluation in episode.evaluations}
    scored = sorted((c for c in episode.candidates if c.index in scores), key=lambda c: -scores[c.index])
    return [[f"{scores[c.index]:.2f}", c.answer] for c in scored]


def criterion_rows(episode: Episode) -> list[list[Cell]]:
    """Return one row of CRITERION_COLUMNS for each criterion of a rubric."""
    assert episode.rubric is not None  # the template asks first
    power = {each.criterion: f"{each.difference:.2f}" for each in criterion_power(episode.rubric, episode.evaluations)}
    return [[c.name, c.weight, power.get(c.name, ""), c.gold, c.description] for c in episode.rubric.criteria]


_ROWS: Final[Mapping[str, Callable[..., object]]] = {
    function.__name__: function
    for function in (
        *(tables.measure_title, tables.measure_note, tables.measure_rows, tables.over_rounds),
        *(tables.progress_rows, tables.progress_sentences, tables.refusal_lines, tables.role_rows, tables.usage_rows),
        *(eval_tables.evaluation_rows, eval_tables.evaluation_remarks, audit_tables.verdict),
        *(below_median, rubric_rows, candidate_rows, criterion_rows),
    )
}

_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "MEASURE_COLUMNS": tables.MEASURE_COLUMNS,
    "PROGRESS_COLUMNS": tables.PROGRESS_COLUMNS,
    "ROLE_COLUMNS": tables.ROLE_COLUMNS,
    "EVALUATION_COLUMNS": eval_tables.EVALUATION_COLUMNS,
    "AUDIT_COLUMNS": audit_tables.AUDIT_COLUMNS,
    "ROUND_COLUMNS": ROUND_COLUMNS,
    "RUBRIC_COLUMNS": RUBRIC_COLUMNS,
    "CRITERION_COLUMNS": CRITERION_COLUMNS,
}
