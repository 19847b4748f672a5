"""The report says round by round what was gained, why the run ended, and whose model is the result."""

from typing import Any

from rich.console import Console

from pop_selfplay.report.tables import progress_rows, progress_sentences, progress_tables

START, FIRST, TEACHER = ({"round": number} for number in (0, 1, None))


def round_(number: int, lineage: dict[str, Any], **figures: Any) -> dict[str, Any]:
    return {"round": number, "lineage": lineage, "decisions": [{"figures": figures}]}


def result(*rounds: dict[str, Any], stopped: dict[str, Any] | None = None, best: int = 1) -> dict[str, Any]:
    model = {"round": best, "path": f"models/round-{best}" if best else "pocket", "best_by": "self_play.greedy"}
    return {"rounds": list(rounds), "stopped": stopped, "model": model}


def test_a_row_shows_the_figures_and_who_wrote_what() -> None:
    gain = {"mean": 0.1, "low": 0.05, "high": None, "n": 3}
    lineage = {"proposer": [FIRST], "solver": [START, FIRST], "rubric_writer": [TEACHER], "judge": [START]}
    row = progress_rows(result(round_(2, lineage, gain=gain, diversity=0.9, agreement=None)))[0]
    assert row == ["2", "+0.100 [+0.050, ?]", "0.900", "", "round 1; rubric writer: teacher; judge: start"]


def test_a_stop_is_told_with_its_rule_and_its_figures_and_so_is_the_model() -> None:
    stop = {"round": 2, "before": "training", "rule": "min_diversity", "says": "the problems are 0.5 times as diverse"}
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
