"""report.html: one static page without scripts, made from the result and a few episodes of the journal.

The page itself is page.html.jinja, which escapes everything: what came from a document or a model is shown, never interpreted.
Here are the rows of its tables; those that the terminal shows, too, are in tables.py and eval_tables.py. The next section is a
heading in the template, and a function for its rows in `_ROWS`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pop_selfplay.config import NoMeasure, dump_config
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit.audit import RESULT as AUDIT
from pop_selfplay.evaluation.evaluate import EVALUATION
from pop_selfplay.evaluation.evaluate import RESULT as EVAL
from pop_selfplay.method.problems import below_median, criterion_power
from pop_selfplay.records import Episode, Role
from pop_selfplay.report import audit_tables, eval_tables, tables
from pop_selfplay.report.tables import decimals, estimate_text
from pop_selfplay.results import AuditResult, EvalResult, RunResult, read_result
from pop_selfplay.results.run import RoundResult
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed

if TYPE_CHECKING:
    from jinja2 import Template

R = TypeVar("R", EvalResult, AuditResult)
Cell = str | int | float

EPISODES_SHOWN: Final = 5
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
    episodes: Sequence[Episode]
    config: str
    evaluation: EvalResult | None = None
    audit: AuditResult | None = None
    unreadable: Sequence[str] = ()


def render_page(session: Session, result: RunResult) -> str:
    """Return the whole page for a run."""
    unreadable: list[str] = []
    path = session.directory.path
    return render(
        Page(
            title=f"pop: {result.domain}, seed {result.seed}",
            readers=[role.value.replace("_", " ") for role in Role if role in session.config.synthesis.document_for],
            result=result,
            unmeasured=_unmeasured(session),
            episodes=list(itertools.islice(_scored_episodes(session), EPISODES_SHOWN)),
            config=dump_config(session.config),
            evaluation=_beside(path / EVALUATION / EVAL, EvalResult, unreadable),
            audit=_beside(path / AUDIT, AuditResult, unreadable),
            unreadable=unreadable,
        )
    )


def render(page: Page) -> str:
    """Return the HTML of a page."""
    return _template().render(vars(page))


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # only who writes a page needs it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.globals.update(_ROWS)
    environment.globals.update(_COLUMNS)
    environment.filters.update({"audit_row": audit_tables.audit_row, "round_row": round_row})
    return environment.from_string(files("pop_selfplay.report").joinpath("page.html.jinja").read_text(encoding="utf-8"))


def _beside(path: Path, kind: type[R], unreadable: list[str]) -> R | None:
    """Return the result at `path`, None where there is none. A file that cannot be read must not cost the run its report."""
    if not path.is_file():
        return None
    try:
        return read_result(path, kind)
    except UsageError as error:
        unreadable.append(str(error))
        return None


def _scored_episodes(session: Session) -> Iterator[Episode]:
    """Yield the scored episodes of round 1 in an order that has nothing to do with their documents'."""
    ids = sorted(session.journal.finished_episodes(1), key=lambda id_: derive_seed("shown", id_))
    return (episode for id_ in ids if not (episode := session.journal.episode(1, id_)).failure)


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
        tables.measure_title,
        tables.measure_note,
        tables.measure_rows,
        tables.over_rounds,
        tables.progress_rows,
        tables.progress_sentences,
        tables.refusal_lines,
        tables.role_rows,
        tables.usage_rows,
        eval_tables.evaluation_rows,
        eval_tables.evaluation_remarks,
        audit_tables.verdict,
        below_median,
        rubric_rows,
        candidate_rows,
        criterion_rows,
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
