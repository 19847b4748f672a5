"""The figures of a run as tables on the terminal (page.html shows the same rows), and how a figure or a text is written.

What was measured, calls and tokens by role, the way from documents to pairs, and how a run of several rounds went: what each
round gained, why the run ended, and whose model is the result. The next table is a function here, called by `result_tables`.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.config import NoMeasure
from pop_selfplay.episode import unfinished
from pop_selfplay.evaluation.measure import is_measured
from pop_selfplay.evaluation.rounds import stopped
from pop_selfplay.journal.notes import SHARD
from pop_selfplay.plan import Plan
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import Ancestor, GainFigures, Measure, ProblemFigures, RoleCost, RoundResult, RunResult
from pop_selfplay.runs.session import Session

MEASURE_COLUMNS: Final = ("group", "mode", "before", "after", "gain", "n")
ROLE_COLUMNS: Final = ("role", "calls", "valid", "refused because")
PROGRESS_COLUMNS: Final = (
    "round",
    "gain over the best before [95 %]",
    "diversity of problems",
    "agreement with the truth",
    "written by",
)
ROUND_COUNTS: Final = ("documents", "problems", "candidates", "rubrics", "evaluations", "pairs")


def result_tables(result: RunResult) -> Group:
    """Return the closing tables of a run: what was measured, how the roles did, and what was kept and dropped."""
    parts = [measure_table(result.measure)] if result.measure else []
    if result.usage:
        parts += [roles_table(result.roles), usage_table(result.usage)]
    return Group(*parts, rounds_table(result.rounds), *map(Text, refusal_lines(result)), progress_tables(result))


def refusal_lines(result: RunResult) -> list[str]:
    """Return one line for each role whose calls the server refused, with its words; a resume asks those episodes again."""
    return [f"refused to the {role.replace('_', ' ')}: {printable(words)}" for role, words in result.refusals.items()]


def measure_table(measured: Measure) -> Table:
    """One row per group and mode: before, after and the paired gain, each with its 95 % interval."""
    table = Table(title=measure_title(measured), title_justify="left")
    for column in MEASURE_COLUMNS:
        table.add_column(column, justify="left" if column in ("group", "mode") else "right")
    for row in measure_rows(measured):
        table.add_row(*row)
    return table


def measure_title(measured: Measure) -> str:
    """Return what the figures are and on which scale."""
    title = "closed-book fact accuracy, %" if in_percent(measured) else "held-out score judged by the starting model, 0 to 2"
    return f"{title} [95 % interval]"


def measure_note(measured: Measure) -> str:
    """Return what the words of the table mean."""
    if in_percent(measured):
        return (
            "Closed-book, before and after; n counts the facts asked. Self play: about the plants of the documents. Held "
            "out: about plants in no document, so a change there is not new knowledge. Sampled: at temperature 1, greedy: at 0."
        )
    return "Both models' answers to problems from held-out documents, scored with the same rubrics; n counts the problems."


def measure_rows(measured: Measure) -> list[list[str]]:
    """Return one row of MEASURE_COLUMNS per group and mode."""
    digits, scale = (1, 100) if in_percent(measured) else (3, 1)
    level, gained = decimals(digits, scale=scale), decimals(digits, scale=scale, signed=True)
    return [
        [
            group.replace("_", " "),
            mode,
            estimate_text(change.before, level),
            estimate_text(change.after, level),
            estimate_text(change.gain, gained),
            str(change.after.n),
        ]
        for group, modes in measured.items()
        for mode, change in modes.items()
    ]


def in_percent(measured: Measure) -> bool:
    """Tell whether figures of the measure are shares, shown in percent."""
    return "held_out_self_judged" not in measured


def roles_table(roles: Mapping[str, Mapping[str, int]]) -> Table:
    """One row per role: its calls, how many parsed, and why the others did not."""
    table = Table(title="calls by role", title_justify="left")
    for column in ROLE_COLUMNS:
        table.add_column(column, justify="right" if column in ("calls", "valid") else "left")
    for role, total, valid, refused in role_rows(roles):
        table.add_row(role, f"{total:,}", valid, refused)
    return table


def role_rows(roles: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int, str, str]]:
    """Return one row of ROLE_COLUMNS for each role."""
    rows = []
    for role, reasons in roles.items():
        total = sum(reasons.values())
        valid = reasons.get("valid", 0) + reasons.get("repaired", 0)
        rows.append((role, total, f"{valid / total:.1%}", reasons_text(reasons)))
    return rows


def usage_rows(usage: Sequence[RoleCost]) -> tuple[tuple[str, ...], list[list[str | int]]]:
    """Return the columns and the rows of what was used by round and role, counts as numbers; money only where it cost any."""
    priced = any(used.money for used in usage)
    rows: list[list[str | int]] = [
        [
            str(used.round) if used.round else "measurement",
            used.role,
            *(used.calls, used.prompt, used.cached, used.generated),
            *([f"{used.money:,.2f}"] if priced else []),
        ]
        for used in usage
    ]
    return ("round", "role", "calls", "prompt", "cached", "generated", *(("money",) if priced else ())), rows


def usage_table(usage: Sequence[RoleCost]) -> Table:
    """One row per round and role, measurements first: calls, tokens and, where prices are known, money."""
    table = Table(title="tokens by round and role", title_justify="left")
    columns, rows = usage_rows(usage)
    for column in columns:
        table.add_column(column, justify="left" if column in ("round", "role") else "right")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else f"{cell:,}" for cell in row))
    return table


def plan_table(plan: Plan, priced: bool) -> Table:
    """One row per role, and the sum: what a synthesis is planned to take."""
    documents, assumed = f"{plan.documents:,}", plan.assumed
    if plan.documents < plan.wanted:
        documents += f" of {plan.wanted:,}"
        lost = f"; cannot be used: {reasons_text(plan.dropped)}" if plan.dropped else ""
        assumed = f"the corpus has no more usable documents{lost}\n{assumed}"
    title = f"plan: {documents} documents, about {duration_text(3600 * plan.hours)}"
    title += f", {plan.money:,.2f} money" if priced else ""
    table = Table(title=title, title_justify="left", caption=Text(assumed))
    columns = ("calls", "prompt", "cached", "generated", *(("money",) if priced else ()))
    for column in ("role", *columns):
        table.add_column(column, justify="right" if column in columns else "left")
    for role in plan.roles:
        row = [f"{getattr(role, c):,.2f}" if c == "money" else f"{getattr(role, c):,}" for c in columns]
        table.add_row(role.role, *row, end_section=role is plan.roles[-1])
    sums = [sum(getattr(role, c) for role in plan.roles) for c in columns]
    table.add_row("all", *(f"{n:,.2f}" if c == "money" else f"{n:,}" for c, n in zip(columns, sums, strict=True)))
    return table


def rounds_table(rounds: Sequence[RoundResult]) -> Table:
    """One column per round: the way from documents to pairs, and every drop on it with its reason."""
    table = Table(title="from documents to pairs", title_justify="left")
    table.add_column("")
    for round_ in rounds:
        table.add_column(f"round {round_.round}", justify="right")
    for column, values in zip(ROUND_COUNTS, zip(*map(round_counts, rounds), strict=True), strict=True):
        table.add_row(column, *(f"{value:,}" for value in values), end_section=column == ROUND_COUNTS[-1])
    for reason in sorted({reason for round_ in rounds for reason in round_.dropped}):
        table.add_row(f"dropped: {reason}", *(f"{round_.dropped.get(reason, 0):,}" for round_ in rounds))
    proposers = [round_.proposer for round_ in rounds if round_.proposer is not None]
    if proposers:  # of every round, then
        table.add_section()
        table.add_row("pairs of problems", *(f"{proposer.pairs:,}" for proposer in proposers))
    for reason in sorted({reason for proposer in proposers for reason in proposer.dropped}):
        table.add_row(f"none: {reason}", *(f"{proposer.dropped.get(reason, 0):,}" for proposer in proposers))
    return table


def round_counts(round_: RoundResult) -> tuple[int, ...]:
    """Return the counts of one round in the order of ROUND_COUNTS."""
    return (round_.documents, round_.problems, round_.candidates, round_.rubrics, round_.evaluations, round_.pairs)


def reasons_text(reasons: Mapping[str, int]) -> str:
    """Return "reason count, …", most frequent first; valid and repaired calls were not refused."""
    shown = [(n, reason) for reason, n in reasons.items() if reason not in ("valid", "repaired")]
    return ", ".join(f"{reason} {n:,}" for n, reason in sorted(shown, key=lambda pair: (-pair[0], pair[1])))


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that suits it: "2.5 h", "4 min", "30 s"."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:,.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"


def print_result(console: Console, result: RunResult, directory: Path) -> None:
    """Print the closing tables and where everything is."""
    console.print(result_tables(result))
    report = f"\nreport        {directory}/report.html" if (directory / "report.html").is_file() else ""
    console.print(Text(f"run directory {directory}{report}"), soft_wrap=True)


def progress_rows(result: RunResult) -> list[list[str]]:
    """Return one row of PROGRESS_COLUMNS for each round, "" where a figure is not known."""
    return [_row(round_) for round_ in result.rounds]


def progress_sentences(result: RunResult) -> list[str]:
    """Return why the run ended early, if it did, and which round's model is the result."""
    said = []
    if stop := result.stopped:
        when = "before its training" if stop.before == "training" else "after its measurement"
        said.append(f"Stopped in round {stop.round}, {when}, by stop.{stop.rule}: {stop.says}.")
    if model := result.model:
        by = f", the best by {model.best_by}" if model.best_by else ""
        what = f"the model of round {model.round}" if model.round else "the starting model: no round was better"
        said.append(f"The result is {what} ({model.path}){by}.")
    return said


def over_rounds(result: RunResult) -> bool:
    """Tell whether there is anything to be compared: several rounds, or a run that was ended early."""
    return len(result.rounds) > 1 or result.stopped is not None


def progress_tables(result: RunResult) -> Group:
    """Return the same for a terminal; empty for a run of one round."""
    if not over_rounds(result):
        return Group()
    table = Table(title="round by round", title_justify="left")
    for column in PROGRESS_COLUMNS:
        table.add_column(column, justify="left" if column == "written by" else "right")
    for row in progress_rows(result):
        table.add_row(*row)
    return Group(table, *(Text(sentence) for sentence in progress_sentences(result)))


def _row(round_: RoundResult) -> list[str]:
    gain, diversity, agreement = None, None, None
    for decision in round_.decisions:
        if isinstance(decision.figures, ProblemFigures):
            diversity, agreement = decision.figures.diversity, decision.figures.agreement
        elif isinstance(decision.figures, GainFigures):
            gain = decision.figures.gain
    return [
        str(round_.round),
        estimate_text(gain, decimals(3, signed=True)),
        "" if diversity is None else f"{diversity:.3f}",
        estimate_text(agreement, decimals(3)),
        _writers(round_.lineage),
    ]


def _writers(lineage: Mapping[str, Sequence[Ancestor]]) -> str:
    """Return who played the roles, roles with the same player together: "round 1; judge: start"."""
    names = {role: _name(models[-1].round) for role, models in lineage.items()}
    policy = names.get("solver", "")
    others = [f"{role.replace('_', ' ')}: {name}" for role, name in names.items() if name != policy]
    return "; ".join([policy, *others]) if policy else ""


def _name(round_: int | None) -> str:
    return "teacher" if round_ is None else f"round {round_}" if round_ else "start"


Show = Callable[[float], str]


def decimals(digits: int, *, scale: float = 1.0, signed: bool = False) -> Show:
    """Return how to write numbers with so many digits, times `scale` (100 for shares whose unit stands in the title)."""
    sign = "+" if signed else ""
    return lambda value: f"{value * scale:{sign}.{digits}f}"


def percent(value: float) -> str:
    """Write a share with its unit."""
    return f"{value:.1%}"


def plain(value: float) -> str:
    """Write a number of any size with about three digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"


def estimate_text(estimate: ReportedEstimate | None, show: Show) -> str:
    """Return "mean [low, high]" of an estimate in a result file, "?" for what is unknown; "" where nothing was measured."""
    if estimate is None or estimate.n == 0:
        return ""
    mean, low, high = ("?" if value is None else show(value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def printable(text: str) -> str:
    """Return `text` on one line, without what a terminal might obey: control characters, and marks that turn its direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def status_line(session: Session) -> str:
    """Return the line. A run is finished when every round is and result.json is written, a shard when its episodes are."""
    path, part = session.directory.path, SHARD.read(session.journal)
    how_far, finished = _how_far(session)
    if part is not None:
        finished = not unfinished(session.journal, session.config.synthesis.problems_per_document, 1)
        how_far = f"shard {part.shard}, {how_far}"
    if session.directory.worked_on():
        return f"{how_far}; a process is working on it"
    if finished:
        return f"{how_far}; the {'run' if part is None else 'shard'} is finished"
    command = "run" if part is None else "synth"
    return f"{how_far}; no process is working on it, resume with: pop {command} {shlex.quote(str(path))}"


def _how_far(session: Session) -> tuple[str, bool]:
    config, journal = session.config, session.journal
    stop = stopped(session)
    last = config.rounds if stop is None else stop.round
    said = ""
    for round_ in range(1, last + 1):
        episodes = len(journal.document_ids(round_)) * config.synthesis.problems_per_document
        if not episodes:
            return "no documents are chosen yet", False
        left = len(unfinished(journal, config.synthesis.problems_per_document, round_))
        said = f"round {round_} of {config.rounds}: {episodes - left:,} of {episodes:,} episodes finished"
        if left:
            return said, False
        if stop is not None and (stop.round, stop.before) == (round_, "training"):
            break
        if config.training.trains and not session.directory.model_path(round_).exists():
            return f"{said}, its training is not", False
        if not isinstance(config.applied_measure, NoMeasure) and not is_measured(session, round_):
            return f"{said}, its measurement is not", False
    return said, session.directory.result_path.is_file()
