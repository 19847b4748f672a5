"""Several rounds of the pocket model: who writes what, when it ends, and that a resumed run goes the way it went."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.config import RunConfig
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.journal import Journal
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.models.identity import weights_hash
from pop_selfplay.observer import Unwatched
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.report.tables import usage_rows
from pop_selfplay.runs.session import open_session, watch_session
from pop_selfplay.selfplay import choose_documents, next_to_train, synthesise
from tests.learning import Margins, shifted
from tests.schemas import assert_valid


def small(rounds: int, **changes: Any) -> RunConfig:
    """Return a run of `rounds` with 12 documents each, over in seconds."""
    data = quickstart_config(rounds=rounds, seed=shifted(5)).model_dump()
    data["synthesis"] |= {"documents": 12, "candidates": 4}
    data["measure"] |= {"questions_per_plant": 1, "samples": 1}
    data["training"]["dpo"]["num_train_epochs"] = 1
    return RunConfig.model_validate(data | changes)


class Interrupting(Unwatched):
    """An observer that interrupts the run when a phase begins, as Ctrl-C would."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def phase(self, name: str, episodes: int = 0, calls: int = 0) -> None:
        if name.startswith(self._phase):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a run of two rounds whose judge and rubric writer are frozen."""
    run = tmp_path_factory.mktemp("rounds") / "run"
    pop.run(small(2, frozen_roles=["judge", "rubric_writer"]), run)
    yield run


def test_usage_is_all_that_the_budget_counts_and_measurement_is_a_row_of_it(two_rounds: Path) -> None:
    result = result_of(two_rounds)
    with Journal.open_to_read(two_rounds / "run.db") as journal:
        for kind in ("prompt", "cached", "generated"):
            assert sum(used[kind] for used in result["usage"]) == journal.tally.total_tokens(kind)
    assert sum(used["calls"] for used in result["usage"]) == sum(sum(r.values()) for r in result["roles"].values())
    columns, rows = usage_rows(pop.read_result(two_rounds / "result.json", pop.RunResult).usage)
    assert rows[0][:2] == ["measurement", "solver"] and {row[0] for row in rows} == {"measurement", "1", "2"}
    assert "money" not in columns
    page = (two_rounds / "report.html").read_text(encoding="utf-8")
    assert "<td>measurement</td>" in page and "closed-book fact accuracy, % [95 % interval]" in page


def result_of(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result


def test_the_journal_says_which_policy_wrote_what(two_rounds: Path) -> None:
    first, second = (round_["lineage"] for round_ in result_of(two_rounds)["rounds"])
    start = {"round": 0, "parent": None, "path": "pocket", "weights": weights_hash(POCKET_WEIGHTS)}
    trained = {"round": 1, "parent": 0, "path": "models/round-1", "weights": weights_hash(two_rounds / "models" / "round-1")}

    def played(lineage: dict[str, Any]) -> dict[str, Any]:
        assert all(len(models) == 1 for models in lineage.values())
        return {role: {k: v for k, v in models[0].items() if k != "model"} for role, models in lineage.items()}

    assert played(first) == dict.fromkeys(("proposer", "solver", "rubric_writer", "judge"), start)
    assert played(second) == {"proposer": trained, "solver": trained, "rubric_writer": start, "judge": start}
    assert start["weights"] != trained["weights"]
    assert second["solver"][0]["model"].startswith("policy-2-") and second["judge"] == first["judge"]


def test_the_measurements_say_whose_they_are(two_rounds: Path) -> None:
    with Journal.open_to_read(two_rounds / "run.db") as journal:
        rounds = [json.loads(journal.noted(f"lineage/measure/{n}/solver") or "[]")[-1]["round"] for n in range(3)]
    assert rounds == [0, 1, 2]


def test_the_rounds_share_no_document(two_rounds: Path) -> None:
    with Journal.open_to_read(two_rounds / "run.db") as journal:
        ids = [set(journal.document_ids(n)) for n in (1, 2)]
    assert len(ids[0]) == len(ids[1]) == 12 and not ids[0] & ids[1]


@pytest.mark.learning
def test_every_round_s_figures_are_kept_and_the_best_round_s_model_is_the_result(two_rounds: Path, margins: Margins) -> None:
    result = result_of(two_rounds)
    known = [round_["measure"]["self_play"]["greedy"]["after"]["mean"] for round_ in result["rounds"]]
    levels = [result["measure"]["self_play"]["greedy"]["before"]["mean"], *known]
    assert result["model"]["round"] == levels.index(max(levels)) and result["model"]["best_by"] == "self_play.greedy"
    assert result["measure"]["self_play"]["greedy"]["after"]["mean"] == max(known)
    assert result["stopped"] is None
    assert_valid(two_rounds / "result.json", "result")
    for round_ in result["rounds"]:
        problems, gain = round_["decisions"]
        margins.above("diversity of the problems", problems["figures"]["diversity"], 0.5)
        assert 0 <= problems["figures"]["agreement"]["mean"] <= 1
        assert gain["figures"]["gain"]["n"] > 100 and gain["figures"]["over_round"] < round_["round"]
    assert result["rounds"][0]["decisions"][0]["figures"]["diversity"] == 1.0
    page = (two_rounds / "report.html").read_text(encoding="utf-8")
    assert "Round by round" in page and "round 1; rubric writer: start; judge: start" in page


def test_a_run_interrupted_between_rounds_goes_on_with_what_was_decided(two_rounds: Path, tmp_path: Path) -> None:
    config, run = small(2, frozen_roles=["judge", "rubric_writer"]), tmp_path / "run"
    decided: list[set[str]] = []
    for phase in ("round 1: measuring", "round 2: synthesis", "round 2: training"):
        with pytest.raises(KeyboardInterrupt):
            pop.run(config, run, Interrupting(phase))
        with Journal.open_to_read(run / "run.db") as journal:
            decided.append(set(journal.noted_under("decision/").values()))
    assert [len(decisions) for decisions in decided] == [1, 2, 3]
    result, undisturbed = pop.run(config, run), pop.read_result(two_rounds / "result.json", pop.RunResult)
    with Journal.open_to_read(run / "run.db") as journal:
        assert decided[0] < decided[1] < decided[2] < set(journal.noted_under("decision/").values())
    assert (run / "pairs.parquet").read_bytes() == (two_rounds / "pairs.parquet").read_bytes()
    assert result.measure == undisturbed.measure and result.model == undisturbed.model
    for name in ("decisions", "measure", "pairs"):
        assert [getattr(round_, name) for round_ in result.rounds] == [getattr(round_, name) for round_ in undisturbed.rounds]


@pytest.fixture(scope="module")
def distrusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that ended before its first training: without documents, its judge does not know better than its solver."""
    run = tmp_path_factory.mktemp("distrusted") / "run"
    pop.run(blind(), run)
    return run


def blind() -> RunConfig:
    data = small(2, stop={"min_agreement": 1.0}).model_dump()
    data["synthesis"]["document_for"] = []
    return RunConfig.model_validate(data)


@pytest.mark.learning
def test_pairs_that_disagree_with_the_truth_are_not_trained_on(distrusted: Path, margins: Margins) -> None:
    result = result_of(distrusted)
    assert (result["stopped"]["round"], result["stopped"]["before"]) == (1, "training")
    assert result["stopped"]["rule"] == "min_agreement"
    margins.below("agreement of a judge without documents", result["stopped"]["figures"]["agreement"]["mean"], 0.97)
    assert f"{result['stopped']['figures']['agreement']['mean']:.3f}" in result["stopped"]["says"]
    assert result["model"] == {"round": 0, "path": "pocket", "best_by": None}
    assert [round_["round"] for round_ in result["rounds"]] == [1] and result["rounds"][0]["training"] is None
    assert not (distrusted / "models").exists()
    assert "by stop.min_agreement" in (distrusted / "report.html").read_text(encoding="utf-8")


def test_a_stopped_run_stays_stopped(distrusted: Path) -> None:
    before = result_of(distrusted)
    assert pop.run(blind(), distrusted).model_dump(mode="json") == before
    with watch_session(distrusted) as session, pytest.raises(UsageError, match=r"stopped after round 1 by stop\.min_agreement"):
        next_to_train(session)


def test_training_alone_heeds_what_stops_before_training(distrusted: Path, tmp_path: Path) -> None:
    with open_session(tmp_path / "run", blind()) as session:
        choose_documents(session)
        synthesise(session, 1)
        with pytest.raises(UsageError, match=r"round 1 by stop\.min_agreement"):
            next_to_train(session)


def test_a_round_that_does_not_gain_enough_is_the_last(two_rounds: Path, tmp_path: Path) -> None:
    config = small(3, frozen_roles=["judge", "rubric_writer"], stop={"min_gain": 1.0})
    result = pop.run(config, tmp_path / "run", fork_from=two_rounds)
    stop = result.stopped
    assert stop is not None and (stop.round, stop.before, stop.rule) == (1, "next_round", "min_gain")
    assert len(result.rounds) == 1 and (tmp_path / "run" / "models" / "round-1").exists()


def test_a_decision_that_was_noted_is_obeyed_and_not_made_again(tmp_path: Path) -> None:
    config = small(2, measure={"type": "none"})
    noted = {"round": 1, "before": "training", "rule": "min_diversity", "says": "as it was then", "figures": {}}
    with open_session(tmp_path / "run", config) as session:
        session.journal.note("decision/1/training", json.dumps(noted))
    stopped = pop.run(config, tmp_path / "run").stopped
    assert stopped is not None and stopped.model_dump() == noted


def test_agreement_with_the_truth_is_refused_where_no_truth_is_known(tmp_path: Path) -> None:
    data = small(2).model_dump() | {"domain": "health_care", "corpus": {"type": "files", "paths": ["t/"]}}
    data |= {"measure": {"type": "self_judged"}, "stop": {"min_agreement": 0.5}}
    data["synthesis"]["scoring"] = "pointwise"
    with pytest.raises(ConfigError, match=r"stop\.min_agreement 0\.5 needs a known truth"):
        pop.run(RunConfig.model_validate(data), tmp_path / "run")
