"""Full disks, read-only places, foreign locks, damage, interrupts: one clear message, the right exit code, nothing lost."""

import resource
import shlex
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.errors import JournalDamaged, JournalError, JournalStopped
from pop_selfplay.journal import Journal, schema
from pop_selfplay.journal.files import is_locked, take_lock
from pop_selfplay.journal.pairs import read_pairs
from tests.integration.faults import damage, read_only, signal_at, start_pop
from tests.integration.runs import copy_run, finished_run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("faults"), 20)


@pytest.fixture(scope="module")
def config(undisturbed: Path) -> RunConfig:
    return pop.load_config(undisturbed / "config.yaml")


@pytest.fixture
def finished(tmp_path: Path, undisturbed: Path) -> Path:
    return copy_run(undisturbed, tmp_path / "finished")


def slow(config: RunConfig, path: Path) -> Path:
    """Write `config` with a model that takes its time, so that there is a middle of the run."""
    model = config.model.model_copy(update={"seconds_per_call": 0.1})
    path.write_text(dump_config(config.model_copy(update={"model": model})), encoding="utf-8")
    return path


def pair_ids(path: Path) -> list[str]:
    return [pair.problem_id for pair in read_pairs(path)]


def exported(run: Path, out: Path) -> bytes:
    pop.export(run, out)
    return out.read_bytes()


def deaf() -> None:
    """Do as a shell script does to what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(("number", "begin"), [(signal.SIGINT, None), (signal.SIGTERM, None), (signal.SIGTERM, deaf)])
def test_an_interrupt_ends_with_4_and_one_message_that_goes_on(
    tmp_path: Path, config: RunConfig, undisturbed: Path, number: int, begin: Callable[[], None] | None
) -> None:
    run = tmp_path / "a run"
    process = start_pop("run", slow(config, tmp_path / "slow.yaml"), "--out", run, limit=begin)
    said = signal_at(run, process, 60, number)
    assert process.returncode == 4 and said is not None, said
    assert said.startswith("pop: Stopped: on request") and said.count("\n") == 1, said
    go_on = shlex.split(said.rpartition("resume with: pop ")[2])
    assert go_on == ["run", str(run)]
    assert pop.export(run, tmp_path / "early.jsonl") > 0
    assert run_command(go_on) == 0
    assert exported(run, tmp_path / "a.jsonl") == exported(undisturbed, tmp_path / "b.jsonl")


@pytest.mark.parametrize("numbers", [[signal.SIGINT] * 5, [signal.SIGTERM, signal.SIGINT], [signal.SIGTERM] * 3])
def test_many_signals_at_once_end_with_the_message_of_one(tmp_path: Path, config: RunConfig, numbers: list[int]) -> None:
    run = tmp_path / "run"
    process = start_pop("run", slow(config, tmp_path / "slow.yaml"), "--out", run)
    said = signal_at(run, process, 60, *numbers)
    assert process.returncode == 4 and said is not None, said
    assert said.startswith("pop: Stopped: on request") and said.count("\n") == 1, said


def test_a_disk_that_takes_no_more_stops_the_run_resumably(tmp_path: Path, config: RunConfig, undisturbed: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
    run = tmp_path / "run"
    process = start_pop("run", tmp_path / "c.yaml", "--out", run, limit=small_files)
    _, said = process.communicate()
    assert process.returncode == 4, said
    assert "JournalStopped" in said and str(run / "run.db") in said and "disk" in said and f"resume with: pop run {run}" in said
    assert said.count("\n") == 2 and "Traceback" not in said
    assert pop.export(run, tmp_path / "early.jsonl") > 0
    assert run_command(["run", str(run)]) == 0
    assert exported(run, tmp_path / "a.jsonl") == exported(undisturbed, tmp_path / "b.jsonl")


def test_a_full_disk_is_told_as_such(tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = schema.connect

    def cramped(path: Path) -> sqlite3.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count=60")
        return db

    monkeypatch.setattr("pop_selfplay.journal.journal.connect", cramped)
    with pytest.raises(JournalStopped, match=r"run\.db: database or disk is full; the disk is full: free some space"):
        pop.run(config, tmp_path / "run")
    monkeypatch.undo()
    pop.run(config, tmp_path / "run")


def test_a_journal_that_another_program_holds_locked_stops_the_run_resumably(
    tmp_path: Path, config: RunConfig, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(finished / "run.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with (
            Journal.open(finished / "run.db") as journal,
            pytest.raises(JournalStopped, match="another program has locked it"),
        ):
            journal.note("a", "b")
        assert run_command(["status", str(finished)]) == 0
    pop.run(config, finished)


def test_a_read_only_run_can_be_seen_and_exported_and_says_why_it_cannot_go_on(
    tmp_path: Path, finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = exported(finished, tmp_path / "before.jsonl")
    with read_only(finished):
        assert run_command(["status", str(finished)]) == 0
        assert run_command(["export", str(finished), "--out", str(tmp_path / "after.jsonl")]) == 0
        capfd.readouterr()
        for command in ("run", "pairs", "train"):
            assert run_command([command, str(finished)]) == 2
            said = capfd.readouterr().err
            assert str(finished) in said and "copy the run directory to a writable place" in said and said.count("\n") == 1
    assert (tmp_path / "after.jsonl").read_bytes() == before


def test_who_holds_a_lock_is_seen_on_a_read_only_disk(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with take_lock(lock), read_only(tmp_path):
        assert is_locked(lock)
    with read_only(tmp_path):
        assert not is_locked(lock)


def test_a_killed_run_made_read_only_still_shows_what_its_log_holds(tmp_path: Path, config: RunConfig) -> None:
    run = tmp_path / "run"
    process = start_pop("run", slow(config, tmp_path / "slow.yaml"), "--out", run)
    assert signal_at(run, process, 60, signal.SIGKILL) is not None
    assert (run / "run.db-wal").stat().st_size > 0
    writable = exported(run, tmp_path / "writable.jsonl")
    with read_only(run):
        assert exported(run, tmp_path / "read-only.jsonl") == writable != b""


def test_a_run_directory_that_cannot_be_made_is_named(tmp_path: Path, config: RunConfig) -> None:
    (tmp_path / "closed").mkdir()
    with read_only(tmp_path / "closed"), pytest.raises(JournalError, match="closed/run"):
        pop.run(config, tmp_path / "closed" / "run")


DAMAGED = ("episodes", "episodes_by_round", "calls", "sqlite_autoindex_calls_1", "sqlite_autoindex_episodes_1")


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("page", [0, 1, -1])
def test_of_a_damaged_journal_all_that_can_be_read_is_exported(
    tmp_path: Path, finished: Path, name: str, page: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = pair_ids(finished / "pairs.parquet")
    (finished / "pairs.parquet").unlink()
    damage(finished / "run.db", name, page)
    assert run_command(["export", str(finished), "--out", str(tmp_path / "left.jsonl")]) == 0
    left = pair_ids(tmp_path / "left.jsonl")
    assert set(left) <= set(before) and len(left) >= len(before) // 2
    if "index" in name or "by_round" in name:
        assert left == before, "a damaged index loses no row"
    assert run_command(["pairs", str(finished)]) == 0
    assert pair_ids(finished / "pairs.parquet") == left
    assert run_command(["status", str(finished)]) == 0


def test_a_damaged_journal_ends_a_run_with_2_and_a_fork_saves_its_calls(
    tmp_path: Path, finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = exported(finished, tmp_path / "before.jsonl")
    damage(finished / "run.db", "calls", 1)
    assert run_command(["run", str(finished)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"pop: JournalDamaged: cannot read {finished / 'run.db'}") and said.count("\n") == 1
    for command in (
        f"pop export {finished} --out pairs.jsonl",
        f"pop run {finished}/config.yaml --fork-from {finished} --out NEW",
    ):
        assert command in said
    fork = tmp_path / "fork"
    assert run_command(["run", str(finished / "config.yaml"), "--fork-from", str(finished), "--out", str(fork)]) == 0
    assert exported(fork, tmp_path / "fork.jsonl") == before


def test_a_journal_beyond_reading_is_named_and_its_pairs_file_still_exports(tmp_path: Path, finished: Path) -> None:
    before = exported(finished, tmp_path / "before.jsonl")
    (finished / "run.db").write_bytes(b"\xa5" * 8192)
    assert exported(finished, tmp_path / "after.jsonl") == before
    (finished / "pairs.parquet").unlink()
    with pytest.raises(JournalDamaged, match=r"run\.db"):
        pop.export(finished, tmp_path / "none.jsonl")
