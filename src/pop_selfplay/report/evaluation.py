"""The figures of an evaluation as a table: on the terminal, and as rows for a run's page."""

import json
from pathlib import Path
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.evaluation.evaluate import RESULT
from pop_selfplay.report.figures import Show, decimals, estimate_text, printable
from pop_selfplay.report.markup import escaped, table

EVALUATION: Final = "evaluation"
"""The directory of a run that holds its evaluation."""

COLUMNS = ("benchmark", "figure", "base", "model", "difference", "n", "lost")


def evaluation_tables(result: dict[str, Any]) -> Group:
    """Return the table of eval.json, with a line for what is no mean over items and one for what has regressed."""
    against = result["against"] or "no base"
    judged = f", judge {result['judge']}" if result["judge"] else ""
    title = printable(f"{result['model']} against {against}{judged} [95 % interval]")
    shown = Table(title=Text(title), title_justify="left")
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("benchmark", "figure", "lost") else "right")
    for row in evaluation_rows(result):
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return Group(shown, *(Text(line) for line in _remarks(result)))


def evaluation_section(run: Path) -> str:
    """Return the section of a run's page as HTML, "" where the run has not been evaluated."""
    path = run / EVALUATION / RESULT
    if not path.is_file():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    against, judge = result["against"] or "no base", result["judge"] or "none"
    head = f"{result['model']} against {against}, suite {result['suite']}, judge {judge}."
    remarks = "".join(f"<p>{escaped(remark)}</p>" for remark in _remarks(result))
    return f"<h2>Benchmarks</h2><p>{escaped(head)}</p>{table(COLUMNS, evaluation_rows(result))}{remarks}"


def evaluation_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return one row of texts for each figure of each benchmark, in the order of COLUMNS."""
    rows = []
    for benchmark in result["benchmarks"]:
        lost, show = lost_text(benchmark["lost"]), scaled(benchmark["scale"])
        for name, figure in benchmark["figures"].items():
            first = name == next(iter(benchmark["figures"]))
            count = figure["difference"] or figure["model"]
            rows.append(
                [
                    benchmark["title"] if first else "",
                    name.replace("_", " "),
                    estimate_text(figure["base"], show),
                    estimate_text(figure["model"], show),
                    estimate_text(figure["difference"], scaled(benchmark["scale"], signed=True)),
                    str(count["n"]),
                    lost if first else "",
                ]
            )
        for name, estimate in benchmark["summary"].items():
            rows.append(["", name.replace("_", " "), "", estimate_text(estimate, show), "", str(estimate["n"]), ""])
    return rows


def scaled(scale: float, *, signed: bool = False) -> Show:
    """Return how to write figures whose largest value is `scale`: in percent where that is 1."""
    return decimals(1, scale=100, signed=signed) if scale == 1 else decimals(2, signed=signed)


def lost_text(lost: dict[str, dict[str, int]]) -> str:
    """Return what has no score, as "base error 2, model judge_no_tag 1"."""
    return ", ".join(f"{side} {reason} {count}" for side, reasons in lost.items() for reason, count in reasons.items())


def _remarks(result: dict[str, Any]) -> list[str]:
    if not result["regressed"]:
        return []
    names = ", ".join(result["regressed"])
    return [f"regressed, the whole interval of the difference below zero: {names}"]
