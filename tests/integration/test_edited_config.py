"""A run goes by the config it began with, whatever happens to config.yaml between its sessions."""

from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.errors import ConfigError
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.pairs import read_pairs
from tests.integration.faults import damage
from tests.integration.runs import copy_run, finished_run, simulated_config


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "config.yaml").read_text(encoding="utf-8")
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("edited"), 12)


@pytest.fixture
def finished(tmp_path: Path, played: Path) -> Path:
    return copy_run(played, tmp_path / "run")


@pytest.mark.parametrize("command", ["run", "synth", "pairs", "status", "audit"])
def test_an_edit_that_asks_for_other_work_is_refused_by_name(
    finished: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    edit(finished, "candidates: 6", "candidates: 7")
    edit(finished, "seed: 42", "seed: 43")
    assert run_command([command, str(finished)]) == 2
    said = capfd.readouterr().err
    for words in ("config.yaml was edited", "synthesis.candidates was 6, is 7", "seed was 42, is 43", "--fork-from"):
        assert words in said
    edit(finished, "candidates: 7", "candidates: 6")
    edit(finished, "seed: 43", "seed: 42")
    assert run_command(["run", str(finished)]) == 0


def test_a_new_config_that_follows_the_edit_is_refused_all_the_same(finished: Path, played: Path) -> None:
    edit(finished, "candidates: 6", "candidates: 7")
    with pytest.raises(ConfigError, match=r"synthesis\.candidates was 6, is 7"):
        pop.run(simulated_config(played.parent / "texts", candidates=7), finished)
    first = simulated_config(played.parent / "texts")
    pop.run(first, finished)  # the config it began with: the edit is undone
    assert RunDirectory.open(finished).config == first


def test_operational_settings_may_be_edited(finished: Path) -> None:
    edit(finished, "seconds_per_call: 0.0", "seconds_per_call: 0.001")
    assert run_command(["run", str(finished)]) == 0
    assert run_command(["status", str(finished)]) == 0


def test_a_run_from_before_the_config_was_noted_goes_by_its_file(finished: Path) -> None:
    with RunDirectory.open(finished).journal() as journal:
        journal.forget_notes("config")
    assert run_command(["run", str(finished)]) == 0
    edit(finished, "candidates: 6", "candidates: 7")
    assert run_command(["run", str(finished)]) == 2


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"[" * 5000])
def test_a_damaged_domain_file_is_named_and_can_be_made_again(
    finished: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (finished / "domain.json").write_bytes(content)
    for command in ("run", "status"):
        assert run_command([command, str(finished)]) == 2
        said = capfd.readouterr().err
        assert f"{finished / 'domain.json'} is damaged" in said and "remove the file" in said
    (finished / "domain.json").unlink()
    assert run_command(["run", str(finished)]) == 0


def test_what_a_killed_writer_left_is_removed_by_the_next(finished: Path) -> None:
    for name in (".result.json.4194304.tmp", ".pairs.parquet.1.tmp"):
        (finished / name).write_bytes(b"half")
    assert run_command(["run", str(finished)]) == 0
    assert not list(finished.glob(".*.tmp"))


def test_a_damaged_journal_replaces_more_pairs_by_fewer_only_by_force(
    finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = finished / "pairs.parquet"
    before = [pair.problem_id for pair in read_pairs(path)]
    damage(finished / "run.db", "episodes", 0)
    assert run_command(["pairs", str(finished)]) == 2
    said = capfd.readouterr().err
    assert f"{path} holds {len(before)} pairs" in said and "--force" in said
    assert [pair.problem_id for pair in read_pairs(path)] == before
    assert run_command(["pairs", str(finished), "--force"]) == 0
    assert len(list(read_pairs(path))) < len(before)


def test_a_journal_without_its_first_page_gives_no_advice_that_cannot_work(
    finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((finished / "run.db").read_bytes())
    content[:4096] = b"\xa5" * 4096
    (finished / "run.db").write_bytes(content)
    assert run_command(["run", str(finished)]) == 2
    said = capfd.readouterr().err
    assert "first page is gone" in said and "--fork-from" not in said and "pop export" not in said
