"""The figures of an evaluation and a duel as tables on the terminal; page.html shows the same rows.

Labels are ours, but a detail may hold what a model wrote (the name of a criterion): it is shown, never interpreted.
"""

from collections.abc import Mapping
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.tables import Show, decimals, estimate_text, printable
from pop_selfplay.results.evaluation import DuelResult, EvalResult, Lost, WinCount

EVALUATION_COLUMNS: Final = ("benchmark", "figure", "base", "model", "difference", "n", "lost")
DUEL_COLUMNS: Final = ("figure", "value [95 %]", "n")

_PERCENT: Final = decimals(1, scale=100)


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
