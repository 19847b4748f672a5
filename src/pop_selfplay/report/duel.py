"""The figures of a duel as tables on the terminal."""

from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.figures import decimals, estimate_text, printable

_PERCENT: Final = decimals(1, scale=100)


def duel_tables(result: dict[str, Any]) -> Group:
    """Return the tables of duel.json."""
    title = f"{result['a']} against {result['b']}, judge {result['judge']} [95 % interval]"
    table = Table(title=Text(printable(title)), title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("n", justify="right")
    for name, text, count in _rows(result):
        table.add_row(name, text, str(count))
    parts: list[Table | Text] = [table]
    if result["criteria"] is not None and result["criteria"]["by_name"]:
        parts.append(_by_name(result["criteria"]["by_name"]))
    if result["lost"]:
        parts.append(Text("no verdict: " + ", ".join(f"{reason} {count}" for reason, count in result["lost"].items())))
    return Group(*parts)


def _rows(result: dict[str, Any]) -> list[tuple[str, str, Any]]:
    length, words = result["length"], result["length"]["mean_words"]
    rows = [
        ("win rate, %", estimate_text(result["win_rate"], _PERCENT), result["win_rate"]["n"]),
        ("length-controlled win rate, %", estimate_text(length["win_rate"], _PERCENT), length["win_rate"]["n"]),
        ("wins / ties / losses", f"{result['wins']} / {result['ties']} / {result['losses']}", ""),
        ("verdicts that flip with the order, %", estimate_text(result["flip_rate"], _PERCENT), result["flip_rate"]["n"]),
        ("mean words, a and b", " and ".join("?" if words[s] is None else f"{words[s]:.0f}" for s in ("a", "b")), ""),
        ("forfeits of a and b", f"{result['forfeits']['a']} and {result['forfeits']['b']}", ""),
    ]
    if result["criteria"] is not None:
        won, lead = result["criteria"]["win_rate"], result["criteria"]["score_lead"]
        rows.append(("criteria won, %", estimate_text(won, _PERCENT), won["n"]))
        rows.append(("lead in the rubric's score, 0 to 2", estimate_text(lead, decimals(2, signed=True)), lead["n"]))
    return rows


def _by_name(criteria: dict[str, dict[str, int]]) -> Table:
    table = Table(title="criteria, the most frequent ones", title_justify="left")
    for column in ("criterion", "wins", "ties", "losses"):
        table.add_column(column, justify="left" if column == "criterion" else "right")
    for name, count in criteria.items():
        table.add_row(Text(printable(name)), *(str(count[part]) for part in ("wins", "ties", "losses")))
    return table
