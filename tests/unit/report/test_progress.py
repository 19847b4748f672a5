"""The report says round by round what was gained, why the run ended, and whose model is the result."""

from typing import Any

from rich.console import Console
from tests.unit.report.makers import NOTHING, round_result, run_result

from pop_selfplay.report.tables import progress_rows, progress_sentences, progress_tables
from pop_selfplay.results import RunResult
from pop_selfplay.results.run import RoundResult

START, FIRST, TEACHER = (
    {"model": "m", "round": number, "parent": None, "path": None, "weights": None} for number in (0, 1, None)
)


def round_(number: int, lineage: dict[str, Any], **figures: dict[str, Any]) -> RoundResult:
    """Return a round with one decision for each of the `figures`: those before `training` and before the `next_round`."""
    decisions = [{"before": before, "rule": None, "says": "", "figures": found} for before, found in figures.items()]
    return round_result(number, lineage=lineage, decisions=decisions)


def result(*rounds: RoundResult, stopped: dict[str, Any] | None = None, best: int = 1) -> RunResult:
    model = {"round": best, "path": f"models/round-{best}" if best else "pocket", "best_by": "self_play.greedy"}
    return run_result(*rounds, stopped=stopped, model=model)


def test_a_row_shows_the_figures_and_who_wrote_what() -> None:
    gain = {"gain": {"mean": 0.1, "low": 0.05, "high": None, "n": 3}, "over_round": 1, "best_round": 2}
    problems = {"diversity": 0.9, "agreement": NOTHING}
    lineage = {"proposer": [FIRST], "solver": [START, FIRST], "rubric_writer": [TEACHER], "judge": [START]}
    row = progress_rows(result(round_(2, lineage, training=problems, next_round=gain)))[0]
    assert row == ["2", "+0.100 [+0.050, ?]", "0.900", "", "round 1; rubric writer: teacher; judge: start"]


def test_a_stop_is_told_with_its_rule_and_its_figures_and_so_is_the_model() -> None:
    stop = {
        "round": 2,
        "before": "training",
        "rule": "min_diversity",
        "says": "the problems are 0.5 times as diverse",
        "figures": {},
    }
    said = progress_sentences(result(round_(1, {}), stopped=stop))
    assert said[0] == "Stopped in round 2, before its training, by stop.min_diversity: the problems are 0.5 times as diverse."
    assert "the model of round 1 (models/round-1), the best by self_play.greedy" in said[1]
    assert "the starting model: no round was better" in progress_sentences(result(round_(1, {}), best=0))[0]


def test_a_plain_run_of_one_round_prints_nothing_of_it() -> None:
    console = Console(record=True, width=200)
    console.print(progress_tables(result(round_(1, {}))))
    assert console.export_text().strip() == ""
    console.print(progress_tables(result(round_(1, {}), round_(2, {}))))
    assert "round by round" in console.export_text()
