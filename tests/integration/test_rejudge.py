"""`pop rejudge`: another judge, prompt or mode scores a run's answers; nobody else is asked, and what changes is told."""

import json
import re
import sqlite3
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import SimulatedModel, parse_config
from pop_selfplay.corpus import split_documents
from pop_selfplay.episode import play_all, unfinished
from pop_selfplay.errors import ConfigError, DomainError, ModelUnavailable, UsageError
from pop_selfplay.journal import RunDirectory
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.records import Episode
from pop_selfplay.runs.session import open_session, watch_session
from tests.integration.runs import simulated_config, write_texts
from tests.schemas import assert_valid

OTHER = SimulatedModel(seed=9)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve documents in which much was refused."""
    folder = tmp_path_factory.mktemp("rejudged")
    pop.run(simulated_config(write_texts(folder / "texts", 12), score_reference=True), folder / "old")
    return folder / "old"


def episodes(run: Path, round_: int = 1) -> dict[str, Episode]:
    with watch_session(run) as session:
        return {episode.id: episode for episode in session.journal.episodes(round_)}


def calls(run: Path, roles: str) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(run / "run.db")) as db:
        return set(db.execute(f"SELECT episode, role, item, attempt, reason, text FROM calls WHERE role IN ({roles})"))


def test_another_judge_is_the_only_one_asked_and_all_else_is_the_runs(old: Path, tmp_path: Path, asked: Counter[str]) -> None:
    before = (old / "run.db").read_bytes()
    result = pop.rejudge(old, tmp_path / "new", judge=OTHER)
    assert set(asked) == {"judge"} and (old / "run.db").read_bytes() == before
    others = "'proposer', 'solver', 'rubric_writer'"
    assert calls(tmp_path / "new", others) == calls(old, others)
    was, now = episodes(old), episodes(tmp_path / "new")
    assert was.keys() == now.keys() and [was[id_].candidates for id_ in was] == [now[id_].candidates for id_ in was]
    assert [was[id_].rubric for id_ in was] == [now[id_].rubric for id_ in was]
    assert any(was[id_].evaluations != now[id_].evaluations for id_ in was)
    assert all((e.reference_evaluation is None) == bool(e.failure) for e in now.values() if e.rubric)
    with watch_session(tmp_path / "new") as session:
        spent = {role: generated for _, role, _, _, generated in session.journal.tally.tokens_by_role()}
    assert spent["judge"] > 0 == spent["solver"] == spent["proposer"]
    assert_valid(tmp_path / "new" / "rejudge.json", "rejudge")
    assert pop.read_result(tmp_path / "new" / "rejudge.json") == result


def test_the_scores_are_those_that_a_run_with_that_judge_would_have_given(old: Path, tmp_path: Path) -> None:
    config = RunDirectory.open(old).config
    pop.rejudge(old, tmp_path / "new", judge=OTHER)
    fresh = config.changed({"teachers": {"judge": OTHER}})
    pop.run(fresh, tmp_path / "fresh", fork_from=old)
    assert episodes(tmp_path / "new") == episodes(tmp_path / "fresh")
    rows = [pop.export(tmp_path / name, tmp_path / f"{name}.jsonl") for name in ("new", "fresh")]
    assert rows[0] == rows[1] and (tmp_path / "new.jsonl").read_bytes() == (tmp_path / "fresh.jsonl").read_bytes()


@pytest.fixture
def contrary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the judge turn its ratings of some problems around, and of others call everything good."""
    complete = SimulatedChatModel.complete

    async def contradicting(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        done = await complete(self, request)
        kind = zlib.crc32(request.group.encode()) % 3
        turned = (lambda match: f"{match[1]}{2 - int(match[2])}") if kind else (lambda match: f"{match[1]}2")
        return done if kind == 2 else replace(done, text=re.sub(r'("rating": ?)([012])', turned, done.text))

    monkeypatch.setattr(SimulatedChatModel, "complete", contradicting)


def test_every_pair_before_is_kept_replaced_flipped_or_dropped_and_the_changes_are_listed(
    old: Path, tmp_path: Path, contrary: None
) -> None:
    result = pop.rejudge(old, tmp_path / "new", judge=OTHER)
    (round_,) = result.by_round
    assert round_.compared == 12 and round_.pairs_before > 0
    assert round_.kept.pairs + round_.replaced.pairs + round_.flipped.pairs + round_.dropped.pairs == round_.pairs_before
    assert round_.pairs == round_.pairs_before - round_.dropped.pairs + round_.new.pairs
    outcomes = Counter(change.outcome for change in result.changes)
    told = {name: getattr(round_, name).pairs for name in ("replaced", "flipped", "dropped", "new")}
    assert outcomes == Counter({name: count for name, count in told.items() if count}) and result.changes
    for change in result.changes:
        assert (change.chosen_before is None) == (change.outcome == "new")
        assert (
            (change.chosen is None) == (change.outcome == "dropped") == (change.outcome not in ("new", "replaced", "flipped"))
        )
        assert bool(change.reason) == (change.outcome in ("new", "dropped"))
    assert min(round_.kept.pairs, round_.flipped.pairs, round_.dropped.pairs) > 0 and (round_.order.mean or 1) < 1
    share = round_.kept.share
    assert share.n == round_.pairs_before and share.low is not None and share.high is not None and share.low < share.high


def test_the_same_scores_change_no_pair(old: Path, tmp_path: Path) -> None:
    again = parse_config(RunDirectory.open(old).config.model_dump(mode="json")).model
    result = pop.rejudge(old, tmp_path / "new", judge=again)
    (round_,) = result.by_round
    assert not result.changes and round_.kept.pairs == round_.pairs == round_.pairs_before and round_.order.mean == 1


def test_a_killed_rejudging_goes_on_where_it_was(
    old: Path, tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pop.rejudge(old, tmp_path / "whole", judge=OTHER)
    needed = asked.total()
    asked.clear()
    complete = SimulatedChatModel.complete

    async def dying(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        if asked.total() == needed // 2:
            raise ModelUnavailable("it is gone")
        return await complete(self, request)

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedChatModel, "complete", dying)
        with pytest.raises(ModelUnavailable):
            pop.rejudge(old, tmp_path / "killed", judge=OTHER)
    result = pop.rejudge(old, tmp_path / "killed", judge=OTHER)
    assert asked.total() == needed
    assert episodes(tmp_path / "killed") == episodes(tmp_path / "whole")
    assert result == pop.read_result(tmp_path / "whole" / "rejudge.json")
    pop.rejudge(old, tmp_path / "killed", judge=OTHER)
    assert asked.total() == needed


def test_another_mode_scores_by_its_own_prompts(old: Path, tmp_path: Path, asked: Counter[str]) -> None:
    result = pop.rejudge(old, tmp_path / "new", mode="anchor")
    assert set(asked) == {"judge"} and (result.scoring_before, result.scoring) == ("pointwise", "anchor")
    assert all(evaluation.comparisons for episode in episodes(tmp_path / "new").values() for evaluation in episode.evaluations)


def test_episodes_that_stopped_early_are_compared_as_they_are(tmp_path: Path) -> None:
    """A quarter of the candidates is enough where best and worst stood apart, also for a mode that takes all at once."""
    early = {"candidates": 8, "early_stop": {"first_share": 0.25, "gap": 0.01}, "min_valid_share": 0.5}
    config = simulated_config(write_texts(tmp_path / "texts", 12), **early)
    pop.run(config, tmp_path / "run")
    few = {id_ for id_, episode in episodes(tmp_path / "run").items() if episode.evaluations and len(episode.candidates) < 4}
    assert len(few) > 2
    pop.rejudge(tmp_path / "run", tmp_path / "new", mode="pairwise")
    pop.rejudge(tmp_path / "new", tmp_path / "again", mode="anchor")  # of a run that itself could not stop early
    for name in ("new", "again"):
        assert not few & {id_ for id_, episode in episodes(tmp_path / name).items() if episode.failure is not None}


def test_another_prompt_is_what_the_judge_reads_and_stays_with_the_new_run(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "src" / "pop_selfplay" / "domains" / "health_care" / "rate.md").read_text(encoding="utf-8")
    (tmp_path / "strict.md").write_text(text.replace("strict and fair", "merciless"), encoding="utf-8")
    heard: list[str] = []
    complete = SimulatedChatModel.complete

    async def listening(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        heard.append(request.messages[0].content)
        return await complete(self, request)

    monkeypatch.setattr(SimulatedChatModel, "complete", listening)
    result = pop.rejudge(old, tmp_path / "new", prompt=tmp_path / "strict.md")
    assert heard and all("merciless" in said for said in heard) and result.prompt.endswith("strict.md")
    with open_session(tmp_path / "new") as session:
        assert "merciless" in session.domain.prompts["rate"].system
    (tmp_path / "strict.md").write_text("<!-- user -->\n{{document}}", encoding="utf-8")
    with pytest.raises(DomainError, match="it may use"):
        pop.rejudge(old, tmp_path / "other", prompt=tmp_path / "strict.md")


def test_a_mode_that_needs_no_rubric_asks_nobody(tmp_path: Path, asked: Counter[str]) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 6), documents=4)
    pop.run(config.changed({"domain": "math"}), tmp_path / "old")
    asked.clear()
    result = pop.rejudge(tmp_path / "old", tmp_path / "new", mode="verify")
    assert not asked and result.by_round[0].compared == 4
    assert all(episode.rubric is None for episode in episodes(tmp_path / "new").values() if not episode.failure)
    with pytest.raises(UsageError, match="no rubrics"):
        pop.rejudge(tmp_path / "new", tmp_path / "back", mode="pointwise")


def test_every_round_is_judged_again(tmp_path: Path, asked: Counter[str]) -> None:
    simulated = {"type": "simulated", "malformed_rate": 0.1}
    config = simulated_config(write_texts(tmp_path / "texts", 8), documents=3).changed(
        {
            "model": {"type": "endpoint", "base_url": "http://127.0.0.1:1/v1", "model": "m", "weights": "m"},
            "teachers": dict.fromkeys(("proposer", "solver", "rubric_writer", "judge"), simulated),
            "training": {"type": "dpo"},
            "rounds": 2,
        }
    )
    with open_session(tmp_path / "old", config) as session:
        session.journal.store_documents(*split_documents(config))
        for round_ in (1, 2):
            todo = unfinished(session.journal, 1, round_)
            session.casting.play(session.casting.policies(round_), lambda cast, todo=todo, n=round_: play_all(cast, todo, n))  # type: ignore[misc]
    asked.clear()
    result = pop.rejudge(tmp_path / "old", tmp_path / "new", judge=OTHER)
    assert set(asked) == {"judge"} and [(r.round, r.compared) for r in result.by_round] == [(1, 3), (2, 3)]
    assert episodes(tmp_path / "new", 2).keys() == episodes(tmp_path / "old", 2).keys()


def test_a_dry_run_counts_the_calls_and_writes_nothing(old: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "judge.yaml").write_text("{type: simulated, seed: 9}", encoding="utf-8")
    command = ["rejudge", str(old), "--judge", str(tmp_path / "judge.yaml"), "--out", str(tmp_path / "new")]
    assert run_command([*command, "--dry-run"]) == 0
    planned = capfd.readouterr().out
    assert not (tmp_path / "new").exists()
    assert run_command([*command, "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["judge"] == str(tmp_path / "judge.yaml") and "pairs before" in said.err
    first = sum(attempt == 0 for _, _, _, attempt, _, _ in calls(tmp_path / "new", "'judge'"))
    assert f" {first:,} " in planned
    assert run_command([*command, "--dry-run"]) == 0
    assert " 0 " in capfd.readouterr().out


def test_what_makes_no_sense_is_refused_before_anything_is_asked(old: Path, tmp_path: Path, asked: Counter[str]) -> None:
    with pytest.raises(UsageError, match="nothing would be different"):
        pop.rejudge(old, tmp_path / "new")
    with pytest.raises(UsageError, match="stays as it is"):
        pop.rejudge(old, old, judge=OTHER)
    with pytest.raises(DomainError, match="final answers in a box"):
        pop.rejudge(old, tmp_path / "new", mode="verify")
    with pytest.raises(ConfigError, match="no scoring mode"):
        pop.rejudge(old, tmp_path / "new", mode="pointless")
    with pytest.raises(DomainError, match="no prompt file"):
        pop.rejudge(old, tmp_path / "new", prompt=tmp_path / "none.md")
    assert not asked and not (tmp_path / "new").exists()
    pop.rejudge(old, tmp_path / "new", judge=OTHER)
    with pytest.raises(ConfigError, match="another config"):
        pop.rejudge(old, tmp_path / "new", judge=SimulatedModel(seed=10))
