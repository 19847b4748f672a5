"""The benchmark of the viewer: the runs that it makes are whole, and it asks for every page."""

from pathlib import Path

from benchmarks.viewer import make_run, pages

from pop_selfplay.journal import Journal
from pop_selfplay.viewer.app import Viewer


def test_the_runs_that_it_makes_are_whole_and_every_kind_of_page_is_asked_for(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 40, 4)
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        assert sum(not episode.failure and len(episode.candidates) == 4 for episode in journal.episodes(1)) > 30
    viewer = Viewer([tmp_path / "run"])
    while viewer.places[0].indexer.step():
        pass
    asked = {address.partition("?")[0] for _, address in pages(viewer)}
    assert asked == {"/", "/run/0", "/run/0/episode", "/run/0/call", "/run/0/label", "/run/0/live", "/compare"}
