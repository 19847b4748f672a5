"""`summary.db` saves reading, and never changes a figure: it may be missing, old, damaged, another run's, or locked."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.integration.runs import copy_run, simulated_config, small_run, write_texts

import pop_selfplay as pop
from pop_selfplay.journal import Journal
from pop_selfplay.report.result import SUMMARIES, Summaries, compute_result
from pop_selfplay.results import RunResult
from pop_selfplay.runs.session import watch_session
from pop_selfplay.text.overlap import Bands, meeting, shingle_set


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which much is refused and some problems nearly repeat others."""
    folder = tmp_path_factory.mktemp("summaries")
    run = folder / "run"
    pop.run(simulated_config(write_texts(folder / "texts", 12), score_reference=True), run)
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        alike = "json_set(record, '$.problem.text', 'which herb of the wet meadows calms a sick horse, ' || (rowid % 2))"
        db.execute(f"UPDATE episodes SET record = {alike} WHERE stage = ''")
    (run / SUMMARIES).unlink()
    with watch_session(run) as session, closing(Summaries(session, keep=True)) as summaries:
        summaries.read()
    return run


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return copy_run(run, tmp_path / "run")


def figures(run: Path) -> RunResult:
    with watch_session(run) as session:
        return compute_result(session, {})


def test_the_process_that_plays_keeps_a_summary_of_every_episode(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    with closing(sqlite3.connect(run / SUMMARIES)) as db, watch_session(run) as session:
        assert {id_ for (id_,) in db.execute("SELECT id FROM summaries")} == session.journal.finished_episodes(1)


def test_with_summaries_no_episode_is_read(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(copied)
    monkeypatch.setattr(Journal, "episode", lambda *_: pytest.fail("an episode was read"))
    assert figures(copied) == before


def remove(file: Path) -> None:
    file.unlink()


def damage(file: Path) -> None:
    file.write_bytes(b"no database at all, but long enough to look like one" * 100)


def forget_some(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM summaries WHERE rowid % 2 = 0")


def be_of_another_run(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE rules SET rules = 'others'")
        db.execute("UPDATE summaries SET candidates = 1000")


def be_from_before_they_were_played_again(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE summaries SET lost = 'judge.refused', problem = 0, text = '', bands = x''")


def be_in_the_way(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "trouble",
    (remove, damage, forget_some, be_of_another_run, be_from_before_they_were_played_again, be_in_the_way),
    ids=lambda trouble: trouble.__name__,
)
def test_whatever_became_of_the_file_the_figures_are_the_same(run: Path, copied: Path, trouble: Callable[[Path], None]) -> None:
    expected = figures(run)
    assert expected.rounds[0].dropped["pair.near_duplicate_problem"] > 0
    trouble(copied / SUMMARIES)
    assert figures(copied) == expected == figures(copied)


def test_the_figures_of_a_small_run_leave_no_file_behind(copied: Path) -> None:
    (copied / SUMMARIES).unlink()
    figures(copied)
    assert not (copied / SUMMARIES).exists()


def test_which_problems_can_repeat_others_is_told_from_their_bands_alone() -> None:
    texts = ["the sun rises in the east over the hills", "a fern grows in the shade of the old wall", "stones"]
    texts += [texts[0], texts[1] + " now"]
    bands = Bands(0.5)
    keys = [bands.keys(shingle_set(text)) for text in texts]
    brute = [any(set(one) & set(other) for other in keys if other is not one) for one in keys]
    assert meeting(np.array(keys, dtype=np.uint64)).tolist() == brute == [True, True, False, True, True]
