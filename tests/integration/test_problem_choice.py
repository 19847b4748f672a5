"""Frontier problems and pairs of problems, on whole runs of the simulated model."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.config import RunConfig
from pop_selfplay.journal.pairs import read_pairs
from pop_selfplay.pairing import paired, spread_of
from pop_selfplay.records import Episode, Failure
from pop_selfplay.runs.session import watch_session
from tests.integration.runs import simulated_config, write_texts


def with_pairing(config: RunConfig, **pairing: Any) -> RunConfig:
    data = config.model_dump()
    return RunConfig.model_validate(data | {"pairing": data["pairing"] | pairing})


def episodes(run: Path) -> list[Episode]:
    with watch_session(run) as session:
        return list(session.journal.episodes(1))


def mean(episode: Episode) -> float:
    return sum(evaluation.score for evaluation in episode.evaluations) / len(episode.evaluations) / 2


def test_only_frontier_problems_give_pairs_and_every_other_is_counted_with_its_reason(tmp_path: Path) -> None:
    config = with_pairing(
        simulated_config(write_texts(tmp_path / "texts", 40), documents=40),
        frontier={"min_mean": 0.45, "max_mean": 0.6, "min_std": 0.35},
    )
    round_ = pop.run(config, tmp_path / "run").rounds[0]
    scored = [episode for episode in episodes(tmp_path / "run") if not episode.failure]
    expected = Counter[str]()
    for episode in scored:
        expected["pair.too_hard"] += mean(episode) < 0.45
        expected["pair.too_easy"] += mean(episode) > 0.6
        expected["pair.narrow"] += 0.45 <= mean(episode) <= 0.6 and spread_of(episode.evaluations) < 0.35
    assert all(expected.values()), "each reason should occur in this run"
    assert {reason: round_.dropped.get(reason) for reason in expected} == expected
    lost = sum(count for reason, count in round_.dropped.items() if not reason.startswith("corpus."))
    assert round_.documents == 40 == round_.pairs + lost
    kept = {pair.problem_id for pair in read_pairs(tmp_path / "run" / "pairs.parquet")}
    assert kept and all(0.45 <= mean(episode) <= 0.6 for episode in scored if episode.id in kept)


def test_the_result_counts_the_very_pairs_and_repeats_that_pairing_makes(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 60)
    config = with_pairing(simulated_config(texts, documents=60, candidates=2), near_duplicate_problems=0.02)
    round_ = pop.run(config, tmp_path / "run").rounds[0]
    with watch_session(tmp_path / "run") as session:
        made = [made for _, made in paired(session.journal, 1, session.domain, config.pairing, config.seed)]
    dropped = Counter(f"{one.stage}.{one.reason}" for one in made if isinstance(one, Failure))
    assert dropped["pair.near_duplicate_problem"] > 0, "some should occur in this run"
    assert round_.dropped == dict(sorted(dropped.items()))
    assert round_.pairs == sum(not isinstance(one, Failure) for one in made)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with two problems of each document, in which the proposer is to be trained."""
    folder = tmp_path_factory.mktemp("proposer")
    plain = simulated_config(write_texts(folder / "texts", 30), documents=30, problems_per_document=2)
    pop.run(with_pairing(plain, proposer={"min_gap": 0.02}), folder / "run")
    return folder / "run"


def test_pairs_of_problems_prefer_the_wider_spread_and_carry_the_proposer_s_own_words(run: Path) -> None:
    by_id = {episode.id: episode for episode in episodes(run)}
    pairs = [pair for pair in read_pairs(run / "pairs.parquet") if pair.role == "proposer"]
    assert len(pairs) > 5
    with watch_session(run) as session:
        for pair in pairs:
            number = pair.problem_id.rpartition("/")[2]
            other = by_id[f"1/{pair.document_id}/{1 - int(number)}"]
            chosen = by_id[pair.problem_id]
            assert not other.failure, "a problem that failed has no spread"
            assert pair.chosen_score == spread_of(chosen.evaluations)
            assert pair.chosen_score - pair.rejected_score >= 0.02
            assert chosen.problem and other.problem
            assert chosen.problem.text in pair.chosen[0].content and "<answer>" in pair.chosen[0].content
            assert other.problem.text in pair.rejected[0].content
            document = session.journal.document(1, pair.document_id)
            assert document.text in "".join(message.content for message in pair.prompt)


def test_every_document_gives_a_pair_of_problems_or_a_reason_apart_from_the_solver_s(run: Path) -> None:
    round_ = pop.read_result(run / "result.json", pop.RunResult).rounds[0]
    roles = Counter(pair.role for pair in read_pairs(run / "pairs.parquet"))
    assert round_.proposer is not None
    assert roles == {"solver": round_.pairs, "proposer": round_.proposer.pairs}
    assert round_.proposer.pairs + sum(round_.proposer.dropped.values()) == 30
    assert set(round_.proposer.dropped) <= {"pair.too_few_problems", "pair.spread_alike", "pair.identical"}
    lost = sum(count for reason, count in round_.dropped.items() if not reason.startswith("corpus."))
    assert round_.pairs + lost == 60


def test_the_solver_s_pairs_are_the_same_whether_the_proposer_is_trained_or_not(run: Path, tmp_path: Path) -> None:
    texts = run.parent / "texts"
    pop.run(simulated_config(texts, documents=30, problems_per_document=2), tmp_path / "plain")
    solver = [pair for pair in read_pairs(run / "pairs.parquet") if pair.role == "solver"]
    assert solver == list(read_pairs(tmp_path / "plain" / "pairs.parquet"))


def test_the_export_tells_both_kinds_apart(run: Path, tmp_path: Path) -> None:
    pop.export(run, tmp_path / "pairs.jsonl")
    assert list(read_pairs(tmp_path / "pairs.jsonl")) == list(read_pairs(run / "pairs.parquet"))
    assert '"role": "proposer"' in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8")
