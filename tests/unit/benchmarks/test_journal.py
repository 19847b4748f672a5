"""The benchmark of the journal: the journals that it makes are ones that the package reads."""

import importlib.util
from pathlib import Path

from pop_selfplay.journal import Journal
from pop_selfplay.report.tables import status_line
from pop_selfplay.runs.session import read_session

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "journal.py"


def test_the_journal_that_it_makes_holds_whole_episodes_and_some_left_to_play(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("journal_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make_run(tmp_path / "run", 10, 4)
    assert read_session(tmp_path / "run", status_line).startswith("round 1 of 1: 10 of 11 episodes finished")
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        assert all(len(episode.candidates) == 4 for episode in journal.episodes(1))
        assert journal.tally.calls.total() == 10 * 10
