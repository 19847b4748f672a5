"""The figures of an audit as tables on the terminal; page.html shows the same rows. Those of a rejudging are at the end.

Labels are ours, but a detail may hold what a model wrote (the name of a criterion): it is shown, never interpreted.
"""

from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.tables import Show, estimate_text, percent, plain, printable
from pop_selfplay.results.audit import (
    AuditFigure,
    AuditResult,
    DetailTable,
    FamilyResult,
    Form,
    MeasuredFigure,
    PairShare,
    RejudgedRound,
    RejudgeResult,
)

AUDIT_COLUMNS: Final = ("figure", "value [95 %]", "n", "limit", "reading")

_SHOW: Final[dict[Form, Show]] = {"share": percent, "number": plain}


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
    """Return what became of the pairs of each round, and the first of those that change."""
    changed = ((result.judge_before, result.judge), (result.scoring_before, result.scoring))
    title = ", ".join(was if was == now else f"{was} → {now}" for was, now in changed)
    table = Table("", title=Text(printable(f"{title} [95 % interval]")), title_justify="left")
    for round_ in result.by_round:
        table.add_column(f"round {round_.round}", justify="right")
    for name, *texts in zip(_REJUDGED, *map(_rejudged, result.by_round), strict=True):
        table.add_row(name, *texts)
    shown = [
        Text(printable(f"{c.episode}: {c.outcome} {c.reason}".rstrip()), overflow="ellipsis") for c in result.changes[:_SHOWN]
    ]
    return Group(table, *shown, Text(f"{len(result.changes):,} pairs change"))


_SHOWN: Final = 12
_REJUDGED: Final = (
    *("episodes", "pairs before", "  kept", "  replaced", "  flipped", "  dropped", "pairs now", "  new"),
    *("old pairs that the scores now order alike", "rank correlation within a problem"),
)


def _rejudged(round_: RejudgedRound) -> list[str]:
    def share(of: PairShare) -> str:
        return f"{of.pairs:,}" + (f" ({estimate_text(of.share, percent)})" if of.share.n else "")

    before = [share(of) for of in (round_.kept, round_.replaced, round_.flipped, round_.dropped)]
    counts = [f"{round_.compared:,}", f"{round_.pairs_before:,}", *before, f"{round_.pairs:,}", share(round_.new)]
    return [*counts, estimate_text(round_.order, percent), estimate_text(round_.spearman, plain)]
