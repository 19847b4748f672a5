"""What a run directory promises: the same run gives the same bytes, nothing finished is done twice, nothing is lost unsaid."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import dump_config
from pop_selfplay.errors import ConfigError, CorpusError, JournalError
from pop_selfplay.journal import CallKey, RunDirectory, StoredCall
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.records import Completion
from pop_selfplay.runs.lineage import lineage_of, note_lineage
from pop_selfplay.runs.session import open_session, watch_session
from pop_selfplay.selfplay import choose_documents
from tests.integration.nursery import nursery
from tests.integration.runs import simulated_config, write_texts


def exported(directory: Path) -> bytes:
    pop.export(directory, directory / "pairs.jsonl")
    return (directory / "pairs.jsonl").read_bytes()


def without_seconds(result: pop.RunResult) -> dict[str, Any]:
    return result.model_dump(exclude={"rounds": {"__all__": {"seconds"}}})


def test_results_do_not_depend_on_concurrency(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 20)
    runs = {}
    for concurrency in (1, 64):
        config = simulated_config(texts, episodes_in_flight=concurrency)
        out = tmp_path / f"run-{concurrency}"
        runs[concurrency] = (without_seconds(pop.run(config, out)), exported(out))
    assert runs[1] == runs[64]
    assert runs[1][0]["rounds"][0]["pairs"] > 5


def test_every_document_problem_and_pair_is_kept_or_dropped_with_a_reason(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    (texts / "short.txt").write_text("too short", encoding="utf-8")
    (texts / "broken.txt").write_bytes(b"\xff\xfe\xff")
    round_ = pop.run(simulated_config(texts), tmp_path / "run").rounds[0]
    dropped = round_.dropped
    assert dropped["corpus.too_short"] == 1 and dropped["corpus.not_utf8"] == 1
    lost = sum(count for reason, count in dropped.items() if not reason.startswith("corpus."))
    assert round_.documents == 12 == round_.pairs + lost
    assert round_.problems == 12 - sum(n for reason, n in dropped.items() if reason.startswith("proposer."))
    assert round_.tokens.generated > 0


def test_a_finished_run_is_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    first = pop.run(config, tmp_path / "run")

    def refuse(*_: object) -> None:
        raise AssertionError("a finished run asked a model again")

    monkeypatch.setattr(SimulatedChatModel, "complete", refuse)
    assert pop.run(config, tmp_path / "run") == first


def test_another_config_is_refused_with_the_difference(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    pop.run(simulated_config(texts), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"-  candidates: 6\n\+  candidates: 7"):
        pop.run(simulated_config(texts, candidates=7), tmp_path / "run")


def test_a_config_that_could_not_start_can_be_corrected_in_place(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    with pytest.raises(CorpusError):
        pop.run(simulated_config(tmp_path / "txets"), tmp_path / "run")
    corrected = simulated_config(texts).model_copy(update={"domain": "instruction_following"})
    assert pop.run(corrected, tmp_path / "run").rounds[0].documents == 12
    assert RunDirectory.open(tmp_path / "run").config == corrected
    assert json.loads((tmp_path / "run" / "domain.json").read_text(encoding="utf-8"))["name"] == "instruction_following"


def test_a_synthesis_goes_on_in_its_run_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "c.yaml", tmp_path / "run"
    path.write_text(dump_config(simulated_config(write_texts(tmp_path / "texts", 6))), encoding="utf-8")
    assert run_command(["synth", str(path), "--out", str(run), "--set", "budget.tokens=2000"]) == 4
    assert f"pop synth {run} --set budget.tokens=..." in capfd.readouterr().err
    assert run_command(["synth", str(run), "--set", "budget.tokens=null"]) == 0
    assert RunDirectory.open(run).config.budget.tokens is None
    assert run_command(["synth", str(run), "--out", str(tmp_path / "other")]) == 2
    assert "is resumed in place" in capfd.readouterr().err


def test_documents_are_chosen_anew_for_a_config_that_is_corrected_before_any_model_has_answered(tmp_path: Path) -> None:
    few, many = simulated_config(write_texts(tmp_path / "few", 3)), simulated_config(write_texts(tmp_path / "many", 12))
    with open_session(tmp_path / "run", few) as session:
        choose_documents(session)
        note_lineage(session, "1", session.casting.policies(1))
    assert pop.run(many, tmp_path / "run").rounds[0].documents == 12
    pop.run(many, tmp_path / "undisturbed")
    with watch_session(tmp_path / "run") as run, watch_session(tmp_path / "undisturbed") as undisturbed:
        assert run.journal.document_ids(1) == undisturbed.journal.document_ids(1)
        assert lineage_of(run, 1) == lineage_of(undisturbed, 1)


@pytest.mark.parametrize("left", ["calls", "models"])
def test_a_run_that_has_calls_or_models_keeps_its_config(tmp_path: Path, left: str) -> None:
    directory = tmp_path / "run"
    with open_session(directory, simulated_config(tmp_path)) as session:
        if left == "calls":
            call = StoredCall("d", "", Completion(text="t", finish_reason="stop", prompt_tokens=1, generated_tokens=1))
            session.journal.record_call(CallKey(0, "e", "solver", "", 0), call)
        else:
            session.directory.model_path(1).mkdir(parents=True)
    with pytest.raises(ConfigError, match="another config"):
        RunDirectory.create(directory, simulated_config(tmp_path, candidates=7))


def test_a_run_that_began_between_the_look_and_the_lock_keeps_its_config(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    RunDirectory.create(tmp_path / "run", simulated_config(texts))
    late = RunDirectory.create(tmp_path / "run", simulated_config(texts, candidates=7))
    pop.run(simulated_config(texts), tmp_path / "run")
    with pytest.raises(ConfigError, match="another config"), late:
        pass
    assert RunDirectory.open(tmp_path / "run").config.synthesis.candidates == 6
    with RunDirectory.open(tmp_path / "run"):  # the refused one has let go of the lock
        pass


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="not empty"):
        pop.run(simulated_config(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_second_process_on_the_same_run_is_refused(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    with RunDirectory.create(tmp_path / "run", config), pytest.raises(JournalError, match="another process"):
        pop.run(config, tmp_path / "run")


def test_the_run_directory_explains_itself(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    result = pop.run(config, tmp_path / "run")
    assert pop.load_config(tmp_path / "run" / "config.yaml") == config
    assert pop.read_result(tmp_path / "run" / "result.json") == result
    assert "pop-selfplay" in json.loads((tmp_path / "run" / "versions.json").read_text(encoding="utf-8"))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "health_care" in page and "<script" not in page


def calls_made(run: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(run / "run.db", timeout=30)) as db:
        return set(db.execute("SELECT episode, role, item, attempt, text FROM calls"))


def test_kill_9_at_any_moment_loses_only_calls_in_flight(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 20)
    config = simulated_config(texts)
    pop.run(config, tmp_path / "undisturbed")
    slow = config.model_copy(update={"model": config.model.model_copy(update={"seconds_per_call": 0.06})})
    (tmp_path / "slow.yaml").write_text(dump_config(slow), encoding="utf-8")
    run, before, kills = tmp_path / "run", set[tuple[str, ...]](), 0
    command = ("run", tmp_path / "slow.yaml", "--out", run)
    with nursery(tmp_path / "said.txt") as processes:
        for calls in (1, 10, 35, 36, 70, 120):
            kills += processes.kill_at(run, calls, *command)
            now = calls_made(run)
            assert before <= now, "a finished call was lost, or made again with another outcome"
            before = now
        assert not processes.kill_at(run, 10**9, *command)
    assert kills == 6
    assert exported(run) == exported(tmp_path / "undisturbed")
    assert calls_made(run) == calls_made(tmp_path / "undisturbed")
