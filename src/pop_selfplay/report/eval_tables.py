"""The figures of an evaluation, a duel, an audit and a rejudging as tables on the terminal; page.html shows the same rows.

Labels are ours, but a detail may hold what a model wrote (the name of a criterion): it is shown, never interpreted.
"""

from collections.abc import Mapping
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.tables import Show, decimals, estimate_text, percent, plain, printable
from pop_selfplay.results.audit import AuditFigure, AuditResult, DetailTable, FamilyResult, Form, MeasuredFigure
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.evaluation import DuelResult, EvalResult, Lost, PairShare, RejudgedRound, RejudgeResult, WinCount

EVALUATION_COLUMNS: Final = ("benchmark", "figure", "base", "model", "difference", "n", "lost")
DUEL_COLUMNS: Final = ("figure", "value [95 %]", "n")
AUDIT_COLUMNS: Final = ("figure", "value [95 %]", "n", "limit", "reading")
CHANGE_COLUMNS: Final = ("episode", "outcome", "chosen", "rejected", "now chosen", "now rejected", "why no pair")

_PERCENT: Final = decimals(1, scale=100)
_SHOW: Final[dict[Form, Show]] = {"share": percent, "number": plain}
_CHANGES: Final = 12
"""Pairs that change, of those shown on a terminal."""


def evaluation_tables(result: EvalResult) -> Group:
    """Return the table of eval.json, with a line for what is no mean over items and one for what has regressed."""
    against = result.against or "no base"
    judged = f", judge {result.judge}" if result.judge else ""
    title = printable(f"{result.model} against {against}{judged} [95 % interval]")
    shown = Table(title=Text(title), title_justify="left")
    for column in EVALUATION_COLUMNS:
        shown.add_column(column, justify="left" if column in ("benchmark", "figure", "lost") else "right")
    for row in evaluation_rows(result):
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return Group(shown, *(Text(line) for line in evaluation_remarks(result)))


def evaluation_rows(result: EvalResult) -> list[list[str]]:
    """Return one row of texts for each figure of each benchmark, in the order of EVALUATION_COLUMNS."""
    rows = []
    for benchmark in result.benchmarks:
        lost, show = lost_text(benchmark.lost), scaled(benchmark.scale)
        for name, figure in benchmark.figures.items():
            first = name == next(iter(benchmark.figures))
            count = figure.difference or figure.model
            rows.append(
                [
                    benchmark.title if first else "",
                    name.replace("_", " "),
                    estimate_text(figure.base, show),
                    estimate_text(figure.model, show),
                    estimate_text(figure.difference, scaled(benchmark.scale, signed=True)),
                    str(count.n),
                    lost if first else "",
                ]
            )
        for name, estimate in benchmark.summary.items():
            rows.append(["", name.replace("_", " "), "", estimate_text(estimate, show), "", str(estimate.n), ""])
    return rows


def scaled(scale: float, *, signed: bool = False) -> Show:
    """Return how to write figures whose largest value is `scale`: in percent where that is 1."""
    return decimals(1, scale=100, signed=signed) if scale == 1 else decimals(2, signed=signed)


def lost_text(lost: Lost) -> str:
    """Return what has no score, as "base error 2, model judge_no_tag 1"."""
    sides = (("base", lost.base), ("model", lost.model))
    return ", ".join(f"{side} {reason} {count}" for side, reasons in sides for reason, count in reasons.items())


def evaluation_remarks(result: EvalResult) -> list[str]:
    """Return the remarks below the table: what has regressed."""
    if not result.regressed:
        return []
    names = ", ".join(result.regressed)
    return [f"regressed (the whole interval of the difference is below zero): {names}"]


def duel_tables(result: DuelResult) -> Group:
    """Return the tables of duel.json."""
    title = f"{result.a} against {result.b}, judge {result.judge} [95 % interval]"
    table = Table(title=Text(printable(title)), title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("n", justify="right")
    for name, text, count in duel_rows(result):
        table.add_row(name, text, str(count))
    parts: list[Table | Text] = [table]
    if result.criteria is not None and result.criteria.by_name:
        parts.append(_by_name(result.criteria.by_name))
    if result.lost:
        parts.append(Text("no verdict: " + ", ".join(f"{reason} {count}" for reason, count in result.lost.items())))
    return Group(*parts)


def duel_rows(result: DuelResult) -> list[tuple[str, str, int | str]]:
    """Return name, value and count of each figure of a duel."""
    controlled, words = result.length.win_rate, result.length.mean_words
    rows: list[tuple[str, str, int | str]] = [
        ("win rate, %", estimate_text(result.win_rate, _PERCENT), result.win_rate.n),
        ("length-controlled win rate, %", estimate_text(controlled, _PERCENT), controlled.n),
        ("wins / ties / losses", f"{result.wins} / {result.ties} / {result.losses}", ""),
        ("verdicts that flip with the order, %", estimate_text(result.flip_rate, _PERCENT), result.flip_rate.n),
        ("mean words, a and b", " and ".join("?" if mean is None else f"{mean:.0f}" for mean in (words.a, words.b)), ""),
        ("forfeits of a and b", f"{result.forfeits.a} and {result.forfeits.b}", ""),
    ]
    if result.criteria is not None:
        won, lead = result.criteria.win_rate, result.criteria.score_lead
        rows.append(("criteria won, %", estimate_text(won, _PERCENT), won.n))
        rows.append(("lead in the rubric's score, 0 to 2", estimate_text(lead, decimals(2, signed=True)), lead.n))
    return rows


def _by_name(criteria: Mapping[str, WinCount]) -> Table:
    table = Table(title="criteria, the most frequent ones", title_justify="left")
    for column in ("criterion", "wins", "ties", "losses"):
        table.add_column(column, justify="left" if column == "criterion" else "right")
    for name, count in criteria.items():
        table.add_row(Text(printable(name)), *map(str, (count.wins, count.ties, count.losses)))
    return table


def audit_tables(result: AuditResult) -> Group:
    """Return one table for each family, its details below, and what warns at the end."""
    parts: list[Table | Text] = []
    for family in result.families:
        parts += [_family(family), *(_detail(detail) for detail in family.details), Text()]
    return Group(*parts, verdict(result))


def verdict(result: AuditResult) -> Text:
    """Return the last word: how many figures warn, and which."""
    count = len(result.warnings)
    figures = [figure for family in result.families for figure in family.figures]
    measured = sum(1 for figure in figures if not figure.missing)
    looked_at = f"{measured} figures measured on round {result.round}, {len(figures) - measured} could not be"
    if not count:
        return Text(f"{looked_at}. No figure is beyond its limit.", style="bold green")
    return Text(f"{looked_at}. {count} beyond their limits: {', '.join(result.warnings)}", style="bold yellow")


def audit_row(figure: AuditFigure) -> list[str]:
    """Return the texts of one figure in the order of AUDIT_COLUMNS."""
    count = figure.n if isinstance(figure, MeasuredFigure) else 0
    return [figure.label, value_text(figure), f"{count:,}", limit_text(figure), reading_text(figure)]


def value_text(figure: AuditFigure) -> str:
    """Return the value with its interval, or "not measured"."""
    return estimate_text(figure, _SHOW[figure.form]) if isinstance(figure, MeasuredFigure) else "not measured"


def limit_text(figure: AuditFigure) -> str:
    """Return the limit as a sign and a number, "" where there is none."""
    if not figure.limit:
        return ""
    ((side, value),) = figure.limit.items()
    return f"{'≥' if side == 'at_least' else '≤'} {_SHOW[figure.form](value)}"


def reading_text(figure: AuditFigure) -> str:
    """Return what the figure means, with the paper's value, or why it is missing."""
    if figure.missing:
        return figure.missing
    paper = f" (paper: {figure.paper})" if figure.paper else ""
    return f"{'WARNS: ' if figure.warns else ''}{figure.reading}{paper}"


def _family(family: FamilyResult) -> Table:
    table = Table(title=Text(f"{family.name}: {family.question}"), title_justify="left", title_style="bold")
    for column in AUDIT_COLUMNS:
        table.add_column(column, justify="right" if column in ("value [95 %]", "n", "limit") else "left")
    for figure in family.figures:
        style = "yellow" if figure.warns else "dim" if figure.missing else ""
        table.add_row(*(Text(printable(cell)) for cell in audit_row(figure)), style=style)
    return table


def _detail(detail: DetailTable) -> Table:
    table = Table(title=Text(printable(detail.title)), title_justify="left", box=None, padding=(0, 2))
    for column in detail.columns:
        table.add_column(Text(printable(column)), justify="left" if column == detail.columns[0] else "right")
    for row in detail.rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def rejudge_tables(result: RejudgeResult) -> Group:
    """Return the table of rejudge.json, and the first of the pairs that change."""
    table = Table(title=Text(printable(rejudge_title(result))), title_justify="left")
    table.add_column("")
    for round_ in result.by_round:
        table.add_column(f"round {round_.round}", justify="right")
    for row in rejudge_rows(result):
        table.add_row(*row)
    if not result.changes:
        return Group(table, Text("No pair changes."))
    changed = Table(title="pairs that change", title_justify="left", box=None, padding=(0, 2))
    for column in CHANGE_COLUMNS:
        changed.add_column(column)
    for row in change_rows(result)[:_CHANGES]:
        changed.add_row(*(Text(printable(cell)) for cell in row))
    left = len(result.changes) - _CHANGES
    return Group(table, changed, *([Text(f"  and {left:,} more")] if left > 0 else []))


def rejudge_title(result: RejudgeResult) -> str:
    """Return what was different."""
    judge = result.judge_before if result.judge == result.judge_before else f"{result.judge_before} → {result.judge}"
    mode = result.scoring if result.scoring == result.scoring_before else f"{result.scoring_before} → {result.scoring}"
    prompt = f", prompt {result.prompt}" if result.prompt else ""
    return f"judge {judge}, scoring {mode}{prompt} [95 % interval]"


def rejudge_rows(result: RejudgeResult) -> list[list[str]]:
    """Return one row for each figure: its name, and its value in each round."""
    rows: dict[str, list[str]] = {}
    for round_ in result.by_round:
        for name, text in _of_round(round_).items():
            rows.setdefault(name, []).append(text)
    return [[name, *texts] for name, texts in rows.items()]


def _of_round(round_: RejudgedRound) -> dict[str, str]:
    def share(of: PairShare) -> str:
        return f"{of.pairs:,}" + (f" ({estimate_text(of.share, percent)})" if of.share.n else "")

    def figure(of: ReportedEstimate, show: Show) -> str:
        return f"{estimate_text(of, show)}, n {of.n:,}" if of.n else ""

    return {
        "episodes compared": f"{round_.compared:,}",
        "pairs before": f"{round_.pairs_before:,}",
        "  kept as they are": share(round_.kept),
        "  another answer chosen or rejected": share(round_.replaced),
        "  flipped": share(round_.flipped),
        "  dropped": share(round_.dropped),
        "pairs now": f"{round_.pairs:,}",
        "  new": share(round_.new),
        "old pairs that the scores now order alike": figure(round_.order, percent),
        "rank correlation within a problem": figure(round_.spearman, decimals(3)),
    }


def change_rows(result: RejudgeResult) -> list[list[str]]:
    """Return one row of CHANGE_COLUMNS for each pair that changes."""
    return [
        [
            change.episode,
            change.outcome,
            *(
                "" if n is None else str(n)
                for n in (change.chosen_before, change.rejected_before, change.chosen, change.rejected)
            ),
            change.reason,
        ]
        for change in result.changes
    ]
