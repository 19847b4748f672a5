"""The figures of a result as tables on the terminal.

How a run of several rounds went: what each round gained, why the run ended, and whose model is the result.
"""

from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.plan import Plan
from pop_selfplay.report.format import decimals, estimate_text, printable

MEASURE_COLUMNS: Final = ("group", "mode", "before", "after", "gain", "n")


def result_tables(result: dict[str, Any]) -> Group:
    """Return the closing tables of a run: what was measured, how the roles did, and what was kept and dropped."""
    parts = [measure_table(result["measure"])] if result["measure"] else []
    if result["usage"]:
        parts += [roles_table(result["roles"]), usage_table(result["usage"])]
    return Group(*parts, rounds_table(result["rounds"]), *map(Text, refusal_lines(result)), progress_tables(result))


def refusal_lines(result: dict[str, Any]) -> list[str]:
    """Return one line for each role whose calls the server refused, with its words; a resume asks those episodes again."""
    return [f"refused to the {role.replace('_', ' ')}: {printable(words)}" for role, words in result["refusals"].items()]


def measure_table(measured: dict[str, Any]) -> Table:
    """One row per group and mode: before, after and the paired gain, each with its 95 % interval."""
    table = Table(title=measure_title(measured), title_justify="left")
    for column in MEASURE_COLUMNS:
        table.add_column(column, justify="left" if column in ("group", "mode") else "right")
    for row in measure_rows(measured):
        table.add_row(*row)
    return table


def measure_title(measured: dict[str, Any]) -> str:
    """Return what the figures are and on which scale."""
    title = "closed-book fact accuracy, %" if _in_percent(measured) else "held-out score judged by the starting model, 0 to 2"
    return f"{title} [95 % interval]"


def measure_note(measured: dict[str, Any]) -> str:
    """Return what the words of the table mean."""
    if _in_percent(measured):
        return (
            "Asked by heart, before and after; n counts the facts asked. Self play: about the plants of the documents. Held "
            "out: about plants in no document, so a change there is no new knowledge. Sampled: at temperature 1, greedy: at 0."
        )
    return "Both models' answers to problems from held-out documents, by the same rubrics; n counts the problems."


def measure_rows(measured: dict[str, Any]) -> list[list[str]]:
    """Return one row of MEASURE_COLUMNS per group and mode."""
    digits, scale = (1, 100) if _in_percent(measured) else (3, 1)
    shown = {part: decimals(digits, scale=scale, signed=part == "gain") for part in ("before", "after", "gain")}
    return [
        [
            group.replace("_", " "),
            mode,
            *(estimate_text(figures[part], show) for part, show in shown.items()),
            str(figures["after"]["n"]),
        ]
        for group, modes in measured.items()
        for mode, figures in modes.items()
    ]


def _in_percent(measured: dict[str, Any]) -> bool:
    return "held_out_self_judged" not in measured


def roles_table(roles: dict[str, dict[str, int]]) -> Table:
    """One row per role: its calls, how many parsed, and why the others did not."""
    table = Table(title="calls by role", title_justify="left")
    for column in ("role", "calls", "valid", "refused because"):
        table.add_column(column, justify="right" if column in ("calls", "valid") else "left")
    for role, reasons in roles.items():
        total = sum(reasons.values())
        valid = reasons.get("valid", 0) + reasons.get("repaired", 0)
        table.add_row(role, f"{total:,}", f"{valid / total:.1%}", reasons_text(reasons))
    return table


def usage_rows(usage: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[list[str | int]]]:
    """Return the columns and the rows of what was used by round and role, counts as numbers; money only where it cost any."""
    counts = ("calls", "prompt", "cached", "generated")
    priced = any(used["money"] for used in usage)
    rows: list[list[str | int]] = [
        [
            str(used["round"]) if used["round"] else "measurement",
            used["role"],
            *(used[count] for count in counts),
            *([f"{used['money']:,.2f}"] if priced else []),
        ]
        for used in usage
    ]
    return ("round", "role", *counts, *(("money",) if priced else ())), rows


def usage_table(usage: list[dict[str, Any]]) -> Table:
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
    documents = f"{plan.documents:,}" + (f" of {plan.wanted:,}" if plan.documents < plan.wanted else "")
    title = f"plan: {documents} documents, about {duration_text(3600 * plan.hours)}"
    title += f", {plan.money:,.2f} money" if priced else ""
    table = Table(title=title, title_justify="left", caption=Text(plan.assumed))
    columns = ("calls", "prompt", "cached", "generated", *(("money",) if priced else ()))
    for column in ("role", *columns):
        table.add_column(column, justify="right" if column in columns else "left")
    for role in plan.roles:
        row = [f"{getattr(role, c):,.2f}" if c == "money" else f"{getattr(role, c):,}" for c in columns]
        table.add_row(role.role, *row, end_section=role is plan.roles[-1])
    sums = [sum(getattr(role, c) for role in plan.roles) for c in columns]
    table.add_row("all", *(f"{n:,.2f}" if c == "money" else f"{n:,}" for c, n in zip(columns, sums, strict=True)))
    return table


def rounds_table(rounds: list[dict[str, Any]]) -> Table:
    """One column per round: the way from documents to pairs, and every drop on it with its reason."""
    table = Table(title="from documents to pairs", title_justify="left")
    table.add_column("")
    for round_ in rounds:
        table.add_column(f"round {round_['round']}", justify="right")
    for count in ("documents", "problems", "candidates", "rubrics", "evaluations", "pairs"):
        table.add_row(count, *(f"{round_[count]:,}" for round_ in rounds), end_section=count == "pairs")
    for reason in sorted({reason for round_ in rounds for reason in round_["dropped"]}):
        table.add_row(f"dropped: {reason}", *(f"{round_['dropped'].get(reason, 0):,}" for round_ in rounds))
    if any(round_["proposer"] for round_ in rounds):
        table.add_section()
        table.add_row("pairs of problems", *(f"{round_['proposer']['pairs']:,}" for round_ in rounds))
    for reason in sorted({reason for round_ in rounds if round_["proposer"] for reason in round_["proposer"]["dropped"]}):
        table.add_row(f"none: {reason}", *(f"{round_['proposer']['dropped'].get(reason, 0):,}" for round_ in rounds))
    return table


def reasons_text(reasons: dict[str, int]) -> str:
    """Return "reason count, …", most frequent first; valid and repaired calls were not refused."""
    shown = [(n, reason) for reason, n in reasons.items() if reason not in ("valid", "repaired")]
    return ", ".join(f"{reason} {n:,}" for n, reason in sorted(shown, key=lambda pair: (-pair[0], pair[1])))


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that suits it: "2.5 h", "4 min", "30 s"."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:,.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"


def print_result(console: Console, result: dict[str, Any], directory: str) -> None:
    """Print the closing tables and where everything lies."""
    console.print(result_tables(result))
    console.print(Text(f"run directory {directory}\nreport        {directory}/report.html"), soft_wrap=True)


COLUMNS: Final = (
    "round",
    "gain over the best before [95 %]",
    "diversity of problems",
    "agreement with the truth",
    "written by",
)


def progress_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return one row of COLUMNS for each round, "" where a figure is not known."""
    return [_row(round_) for round_ in result["rounds"]]


def progress_sentences(result: dict[str, Any]) -> list[str]:
    """Return why the run ended early, if it did, and which round's model is the result."""
    said = []
    if stop := result["stopped"]:
        when = "before its training" if stop["before"] == "training" else "after its measurement"
        said.append(f"Stopped in round {stop['round']}, {when}, by stop.{stop['rule']}: {stop['says']}.")
    if model := result["model"]:
        by = f", the best by {model['best_by']}" if model["best_by"] else ""
        what = f"the model of round {model['round']}" if model["round"] else "the starting model: no round was better"
        said.append(f"The result is {what} ({model['path']}){by}.")
    return said


def over_rounds(result: dict[str, Any]) -> bool:
    """Tell whether there is anything to be compared: several rounds, or a run that was ended early."""
    return len(result["rounds"]) > 1 or bool(result["stopped"])


def progress_tables(result: dict[str, Any]) -> Group:
    """Return the same for a terminal; empty for a run of one round."""
    if not over_rounds(result):
        return Group()
    table = Table(title="round by round", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "written by" else "right")
    for row in progress_rows(result):
        table.add_row(*row)
    return Group(table, *(Text(sentence) for sentence in progress_sentences(result)))


def _row(round_: dict[str, Any]) -> list[str]:
    figures: dict[str, Any] = {}
    for decision in round_["decisions"]:
        figures |= decision["figures"]
    share = figures.get("diversity")
    return [
        str(round_["round"]),
        estimate_text(figures.get("gain"), decimals(3, signed=True)),
        "" if share is None else f"{share:.3f}",
        estimate_text(figures.get("agreement"), decimals(3)),
        _writers(round_["lineage"]),
    ]


def _writers(lineage: dict[str, list[dict[str, Any]]]) -> str:
    """Return who played the roles, roles with the same player together: "round 1; judge: start"."""
    names = {role: _name(models[-1]["round"]) for role, models in lineage.items()}
    policy = names.get("solver", "")
    others = [f"{role.replace('_', ' ')}: {name}" for role, name in names.items() if name != policy]
    return "; ".join([policy, *others]) if policy else ""


def _name(round_: int | None) -> str:
    return "teacher" if round_ is None else f"round {round_}" if round_ else "start"
