"""How a run of several rounds went: what each round gained, why the run ended, and whose model is the result."""

from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pop_selfplay.report.figures import decimals, estimate_text

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
