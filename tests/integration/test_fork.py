"""A forked run pays again only for the calls that became different ones, and takes nothing else over."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.journal import RunDirectory
from pop_selfplay.runs.session import open_session
from tests.integration.runs import simulated_config, write_texts


def changed(config: RunConfig, **parts: Any) -> RunConfig:
    return RunConfig.model_validate(config.model_dump() | parts)


def contents(run: Path) -> tuple[bytes, set[tuple[Any, ...]], dict[str, Any]]:
    """Return what a run came to: its pairs, its calls and its figures."""
    pop.export(run, run / "pairs.jsonl")
    with closing(sqlite3.connect(run / "run.db")) as db:
        calls = set(db.execute("SELECT episode, role, item, attempt, reason, text FROM calls"))
    with RunDirectory.open(run).journal() as journal:
        tally = {"calls": dict(journal.tally.calls), "tokens": dict(journal.tally.tokens)}
    return (run / "pairs.jsonl").read_bytes(), calls, tally


def test_other_judge_settings_ask_only_the_judge_again(tmp_path: Path, asked: Counter[str]) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    other = simulated_config(tmp_path / "texts", judge={"temperature": 0.5, "max_tokens": 4096})
    pop.run(config, tmp_path / "old")
    asked.clear()
    pop.run(other, tmp_path / "fork", fork_from=tmp_path / "old")
    assert set(asked) == {"judge"}
    pop.run(other, tmp_path / "fresh")
    assert contents(tmp_path / "fork") == contents(tmp_path / "fresh")


def test_a_smaller_fork_asks_nothing_and_counts_only_what_it_used(tmp_path: Path, asked: Counter[str]) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    pop.run(simulated_config(texts), tmp_path / "old")
    asked.clear()
    smaller = simulated_config(texts, documents=5)
    pop.run(smaller, tmp_path / "fork", fork_from=tmp_path / "old")
    assert not asked
    pop.run(smaller, tmp_path / "fresh")
    assert contents(tmp_path / "fork") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("field", ["seed", "malformed_rate"])
def test_another_model_asks_everything_again(tmp_path: Path, asked: Counter[str], field: str) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    pop.run(config, tmp_path / "old")
    first = asked.copy()
    other = changed(config, model={**config.model.model_dump(), field: 1 if field == "seed" else 0.151})
    asked.clear()
    pop.run(other, tmp_path / "fork", fork_from=tmp_path / "old")
    assert set(asked) == set(first) and asked["proposer"] >= 12
    pop.run(other, tmp_path / "fresh")
    assert contents(tmp_path / "fork") == contents(tmp_path / "fresh")


def test_where_and_how_fast_a_model_works_changes_no_call(tmp_path: Path, asked: Counter[str]) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    pop.run(config, tmp_path / "old")
    asked.clear()
    slower = changed(config, model={**config.model.model_dump(), "seconds_per_call": 0.001})
    pop.run(slower, tmp_path / "fork", fork_from=tmp_path / "old")
    assert not asked


def test_a_fork_of_an_unfinished_run_and_of_a_fork_takes_over_what_is_there(tmp_path: Path, asked: Counter[str]) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    pop.run(simulated_config(texts, documents=6), tmp_path / "old")
    pop.run(simulated_config(texts, documents=3), tmp_path / "smaller", fork_from=tmp_path / "old")
    asked.clear()
    pop.run(simulated_config(texts, documents=12), tmp_path / "larger", fork_from=tmp_path / "smaller")
    assert 6 <= asked["proposer"] < 12
    pop.run(simulated_config(texts, documents=12), tmp_path / "fresh")
    assert contents(tmp_path / "larger") == contents(tmp_path / "fresh")


def test_the_refusal_of_a_changed_config_names_the_fork_and_the_command_does_it(
    tmp_path: Path, asked: Counter[str], capfd: pytest.CaptureFixture[str]
) -> None:
    old, fork = tmp_path / "old", tmp_path / "fork"
    pop.run(simulated_config(write_texts(tmp_path / "texts", 12)), old)
    other = simulated_config(tmp_path / "texts", candidates=7)
    with pytest.raises(ConfigError, match=rf"--fork-from {old}"):
        pop.run(other, old)
    (tmp_path / "other.yaml").write_text(dump_config(other), encoding="utf-8")
    asked.clear()
    assert run_command(["run", str(tmp_path / "other.yaml"), "--fork-from", str(old), "--out", str(fork)]) == 0
    assert asked["proposer"] == 0 and asked["solver"] >= 12
    asked.clear()
    assert run_command(["run", str(tmp_path / "other.yaml"), "--fork-from", str(old), "--out", str(fork)]) == 0
    assert run_command(["run", str(fork)]) == 0
    assert not asked


def test_a_fork_into_a_run_of_another_origin_or_into_itself_is_refused(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    for name in ("old", "other"):
        pop.run(config, tmp_path / name)
    with pytest.raises(UsageError, match="already begun"):
        pop.run(config, tmp_path / "other", fork_from=tmp_path / "old")
    with pytest.raises(UsageError, match="its own run directory"):
        pop.run(config, tmp_path / "old", fork_from=tmp_path / "old")
    with pytest.raises(ConfigError, match="no run directory"):
        pop.run(config, tmp_path / "new", fork_from=tmp_path / "nowhere")
    assert not (tmp_path / "new").exists()
    pop.run(config, tmp_path / "new", fork_from=tmp_path / "old")
    with pytest.raises(UsageError, match="is a fork of"):
        pop.run(config, tmp_path / "new", fork_from=tmp_path / "other")


def test_a_fork_cut_short_while_copying_is_finished_by_the_next_run(
    tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pop_selfplay.journal import Journal, salvage

    config = simulated_config(write_texts(tmp_path / "texts", 12))
    pop.run(config, tmp_path / "old")
    monkeypatch.setattr(salvage, "_CALLS_AT_ONCE", 50)
    inherit, batches = Journal.inherit, list[Any]()

    def interrupted(self: Journal, calls: Any) -> None:
        if len(batches) == 1:
            raise KeyboardInterrupt
        batches.append(calls)
        inherit(self, calls)

    monkeypatch.setattr(Journal, "inherit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pop.run(config, tmp_path / "fork", fork_from=tmp_path / "old")
    monkeypatch.setattr(Journal, "inherit", inherit)
    asked.clear()
    assert run_command(["run", str(tmp_path / "fork")]) == 0
    assert not asked


def test_calls_of_a_model_that_a_run_trained_belong_to_that_run_wherever_it_moves(tmp_path: Path) -> None:
    model = {"type": "endpoint", "base_url": "http://localhost:1/v1", "model": "m", "weights": "m"}
    config = changed(simulated_config(tmp_path), model=model, training={"type": "dpo"}, rounds=2)
    names = {}
    for name in ("one", "two"):
        with open_session(tmp_path / name, config) as session:
            names[name] = [session.casting.name_of(session.casting.policy(round_), round_) for round_ in (1, 2)]
    (tmp_path / "one").rename(tmp_path / "moved")
    with open_session(tmp_path / "moved") as session:
        assert [session.casting.name_of(session.casting.policy(round_), round_) for round_ in (1, 2)] == names["one"]
    assert names["one"][0] == names["two"][0] and names["one"][1] != names["two"][1]
