"""The findings of an audit, on the terminal and as a part of the page; both from the content of audit.json.

Labels are ours, but a detail may hold what a model wrote (the name of a criterion): it is shown, never interpreted.
"""

from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.figures import Show, estimate_text, percent, plain, printable

Figures = dict[str, Any]

_SHOW: Final[dict[str, Show]] = {"share": percent, "number": plain}


def audit_tables(result: Figures) -> Group:
    """Return one table for each family, its details below, and what warns at the end."""
    parts: list[Any] = []
    for family in result["families"]:
        parts += [_family(family), *(_detail(detail) for detail in family["details"]), Text()]
    return Group(*parts, verdict(result))


def verdict(result: Figures) -> Text:
    """Return the last word: how many figures warn, and which."""
    count = len(result["warnings"])
    figures = [figure for family in result["families"] for figure in family["figures"]]
    measured = sum(1 for figure in figures if not figure["missing"])
    looked_at = f"{measured} figures measured on round {result['round']}, {len(figures) - measured} could not be"
    if not count:
        return Text(f"{looked_at}. No figure is beyond its limit.", style="bold green")
    return Text(f"{looked_at}. {count} beyond their limits: {', '.join(result['warnings'])}", style="bold yellow")


def value_text(figure: Figures) -> str:
    """Return the value with its interval, or "not measured"."""
    return "not measured" if figure["missing"] else estimate_text(figure, _SHOW[figure["form"]])


def limit_text(figure: Figures) -> str:
    """Return the limit as a sign and a number, "" where there is none."""
    if not figure["limit"]:
        return ""
    ((side, value),) = figure["limit"].items()
    return f"{'≥' if side == 'at_least' else '≤'} {_SHOW[figure['form']](value)}"


def reading_text(figure: Figures) -> str:
    """Return what the figure means, with the paper's value, or why it is missing."""
    if figure["missing"]:
        return str(figure["missing"])
    paper = f" (paper: {figure['paper']})" if figure["paper"] else ""
    return f"{'WARNS: ' if figure['warns'] else ''}{figure['reading']}{paper}"


def _family(family: Figures) -> Table:
    table = Table(title=Text(f"{family['name']}: {family['question']}"), title_justify="left", title_style="bold")
    for column in ("figure", "value [95 %]", "n", "limit", "reading"):
        table.add_column(column, justify="right" if column in ("value [95 %]", "n", "limit") else "left")
    for figure in family["figures"]:
        style = "yellow" if figure["warns"] else "dim" if figure["missing"] else ""
        cells = (figure["label"], value_text(figure), f"{figure.get('n', 0):,}", limit_text(figure), reading_text(figure))
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return table


def _detail(detail: Figures) -> Table:
    table = Table(title=Text(printable(detail["title"])), title_justify="left", box=None, padding=(0, 2))
    for column in detail["columns"]:
        table.add_column(Text(printable(column)), justify="left" if column == detail["columns"][0] else "right")
    for row in detail["rows"]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
