"""The hidden directory of a training: for which request it is taken up, which checkpoint counts, and how it ends."""

from pathlib import Path

import pytest

from pop_selfplay.training.checkpoints import last_checkpoint, publish, seal, take_up, unfinished_directory


def checkpoint(directory: Path, step: int) -> Path:
    path = directory / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_text(str(step), encoding="utf-8")
    return path


def test_the_same_request_is_taken_up_and_another_starts_clean(tmp_path: Path) -> None:
    directory = take_up(tmp_path / "model", {"seed": 1, "beta": 0.1})
    assert directory == unfinished_directory(tmp_path / "model") == tmp_path / ".model.unfinished"
    (directory / "work").touch()
    assert (take_up(tmp_path / "model", {"beta": 0.1, "seed": 1}) / "work").exists()
    assert not (take_up(tmp_path / "model", {"beta": 0.1, "seed": 2}) / "work").exists()


def test_what_was_half_removed_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    directory = take_up(tmp_path / "model", {"seed": 1})
    (directory / "checkpoint-1").mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", killed)
        take_up(tmp_path / "model", {"seed": 2})
    assert not (take_up(tmp_path / "model", {"seed": 1}) / "checkpoint-1").exists()


def test_only_a_whole_checkpoint_counts_and_the_last_of_them(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9)
    assert last_checkpoint(tmp_path) is None, "it was not written to its end"
    seal(checkpoint(tmp_path, 20))
    checkpoint(tmp_path, 100)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-20"


def test_a_whole_checkpoint_replaces_the_earlier_ones(tmp_path: Path) -> None:
    seal(checkpoint(tmp_path, 10))
    seal(checkpoint(tmp_path, 20))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-20"]


def test_the_finished_model_takes_its_metrics_and_reports_along_and_nothing_else(tmp_path: Path) -> None:
    directory = take_up(tmp_path / "model", {})
    checkpoint(directory, 5)
    for folder in ("pairs", "runs", "best-5"):
        (directory / folder).mkdir()
        (directory / folder / "file").touch()
    (directory / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    publish(directory, directory / "best-5", tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").rglob("*")} == {"file", "metrics.jsonl", "runs"}
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
