"""Shards: played apart and merged they are the run that one machine plays, to the byte."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as command
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.journal import Journal
from pop_selfplay.journal.notes import SHARD
from pop_selfplay.journal.schema import INHERITED_COLUMNS
from pop_selfplay.records import Shard
from tests.integration.runs import simulated_config, write_texts
from tests.unit.scale.rows import exports, rows

SHARDS: Final = 3


def small(texts: Path) -> RunConfig:
    return simulated_config(texts, documents=8, candidates=3)


def with_the_same_problem(run: Path, folder: Path) -> Path:
    """Return a copy of a run in which all problems are the same."""
    copy = Path(shutil.copytree(run, folder / run.name))
    (copy / "summary.db").unlink(missing_ok=True)  # it says what the problems were before
    with closing(sqlite3.connect(copy / "run.db")) as db, db:
        db.execute("UPDATE episodes SET record = json_set(record, '$.problem.text', 'What does moss need to grow on a stone?')")
    return copy


class Runs:
    """One run played whole, and in shards that are not merged."""

    def __init__(self, folder: Path) -> None:
        self.config = small(write_texts(folder / "texts", 10))
        (folder / "texts" / "short.txt").write_text("too short", encoding="utf-8")
        self.file, self.whole = folder / "c.yaml", folder / "whole"
        self.file.write_text(dump_config(self.config), encoding="utf-8")
        pop.run(self.config, self.whole)
        self.shards = [folder / f"shard-{number}" for number in range(1, SHARDS + 1)]
        for number, path in enumerate(self.shards, 1):
            assert command(["synth", str(self.file), "--shard", f"{number}/{SHARDS}", "--out", str(path)]) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    yield Runs(tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_parts_are_the_whole_and_no_two_differ_by_more_than_one(count: int) -> None:
    parts = [Shard(number, count).part_of(13) for number in range(1, count + 1)]
    assert [place for part in parts for place in part] == list(range(13))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_merged_shards_are_the_run_of_one_machine_to_the_byte(runs: Runs, tmp_path: Path) -> None:
    merged, whole = tmp_path / "merged", with_the_same_problem(runs.whole, tmp_path)
    assert command(["run", str(whole)]) == 0
    shards = [str(with_the_same_problem(shard, tmp_path)) for shard in reversed(runs.shards)]
    assert command(["merge", *shards, "--out", str(merged)]) == 0
    assert exports(merged, tmp_path / "a") == exports(whole, tmp_path / "b")
    for table in ("documents", "corpus_drops", "calls", "episodes", "call_counts", "episode_counts"):
        assert rows(merged, table) == rows(whole, table) != set(), table
    result, expected = (pop.read_result(path / "result.json", pop.RunResult).model_dump() for path in (merged, whole))
    for one in (result, expected):
        one["rounds"][0].pop("seconds")
    assert result == expected and expected["rounds"][0]["pairs"] == 1, "all others nearly repeat its problem"
    with Journal.open_to_read(merged / "run.db") as journal:
        assert not SHARD.exists(journal)
    assert command(["run", str(merged)]) == 0
    assert rows(merged, "calls") == rows(whole, "calls"), "nothing was left to play"


def test_what_a_shard_has_not_finished_is_played_by_the_merged_run_with_the_calls_that_it_has(
    runs: Runs, tmp_path: Path
) -> None:
    cut, merged = tmp_path / "cut", tmp_path / "merged"
    shutil.copytree(runs.shards[1], cut)
    with closing(sqlite3.connect(cut / "run.db")) as db, db:
        (lost,) = db.execute("SELECT id FROM episodes WHERE reason = '' LIMIT 1").fetchone()
        db.execute("DELETE FROM episodes WHERE id = ?", (lost,))
    assert command(["merge", str(runs.shards[0]), str(cut), str(runs.shards[2]), "--out", str(merged)]) == 0
    assert rows(merged, "calls") == rows(runs.whole, "calls")
    assert len(rows(merged, "episodes")) == len(rows(runs.whole, "episodes")) - 1
    assert command(["run", str(merged)]) == 0
    assert exports(merged, tmp_path / "a") == exports(runs.whole, tmp_path / "b")
    assert rows(merged, "call_counts") == rows(runs.whole, "call_counts"), "no call was made again"


def test_the_merged_run_has_what_an_unfinished_shard_inherited(runs: Runs, tmp_path: Path) -> None:
    cut, merged = tmp_path / "cut", tmp_path / "merged"
    shutil.copytree(runs.shards[1], cut)
    with closing(sqlite3.connect(cut / "run.db")) as db, db:
        (lost,) = db.execute("SELECT id FROM episodes WHERE reason = '' LIMIT 1").fetchone()
        made = db.execute(f"SELECT {INHERITED_COLUMNS} FROM calls WHERE episode = ?", (lost,)).fetchall()
        db.execute("DELETE FROM episodes WHERE id = ?", (lost,))
        db.execute("DELETE FROM calls WHERE episode = ?", (lost,))
    with Journal.open(cut / "run.db") as journal:  # as in a fork that has not come to this episode
        journal.note("forked_from", "another")
        journal.inherit(made)
    assert command(["merge", str(runs.shards[0]), str(cut), str(runs.shards[2]), "--out", str(merged)]) == 0
    with Journal.open_to_read(merged / "run.db") as journal:
        assert sorted(journal.inherited()) == sorted(made) != []


def test_a_shard_is_resumed_shown_and_refused_as_what_it_is(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = map(str, runs.shards[:2])
    assert command(["synth", first]) == 0 and command(["status", first]) == 0
    assert "shard 1/3, round 1 of 1: 2 of 2 episodes finished; the shard is finished" in capfd.readouterr().out
    assert not (runs.shards[0] / "pairs.parquet").exists()
    for refused in (["run", first], ["train", first], ["synth", str(runs.file), "--shard", "2/3", "--out", first]):
        assert command(refused) == 2
        assert "shard 1/3" in capfd.readouterr().err
    assert command(["synth", str(runs.file), "--shard", "2/3", "--out", str(runs.whole)]) == 2
    assert "holds a whole run" in capfd.readouterr().err
    assert command(["synth", str(runs.file), "--shard", "2/3", "--out", second]) == 0


def test_what_is_not_all_of_one_run_is_not_merged(runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second, third = map(str, runs.shards)
    other, more = tmp_path / "other", tmp_path / "more"
    changed = ["synth", str(runs.file), "--shard", "3/3"]
    assert command([*changed, "--set", "seed=9", "--out", str(other)]) == 0
    write_texts(tmp_path / "texts", 11)
    assert command([*changed, "--set", "filter.min_words=1", "--out", str(more)]) == 0
    for directories, words in (
        ([first, third], "shards are missing: 2/3"),
        ([first, first, second], "are both shard 1/3"),
        ([first, str(runs.whole)], "is no shard"),
        ([first, second, str(other)], "different configs"),
        ([first, second, str(more)], "different configs"),
    ):
        assert command(["merge", *directories, "--out", str(tmp_path / "merged")]) == 2
        assert words in capfd.readouterr().err
        assert not (tmp_path / "merged").exists()
    assert command(["merge", first, second, third, "--out", str(runs.whole)]) == 2
    assert "exists already" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["0/8", "9/8", "1", "1/0", "a/b", "-1/8", "1/8/2", ""])
def test_what_names_no_shard_is_refused(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(["synth", "c.yaml", f"--shard={text}"]) == 2
    assert "names no shard" in capfd.readouterr().err
