"""Whole runs over HTTP on the server that takes its time: every way of scoring, and the same pairs however it is scheduled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.config import RunConfig, SimulatedModel, parse_config
from pop_selfplay.journal import Journal
from pop_selfplay.journal.pairs import read_pairs
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.prose import quality
from pop_selfplay.models.simulated.server import Grammars, serving, simulated_app
from pop_selfplay.models.simulated.timed import TimedChatModel
from pop_selfplay.models.simulated.timing import Machine
from pop_selfplay.viewer.reading import Run, filled, show
from tests.integration.runs import simulated_config, write_texts

SPEEDUP = 1000.0


@contextmanager
def served(slots: int = 256, grammars: Grammars = "honoured", **model: Any) -> Iterator[tuple[str, TimedChatModel]]:
    timed = TimedChatModel(SimulatedChatModel(SimulatedModel(**model)), Machine(slots=slots), speedup=SPEEDUP)
    with serving(simulated_app(timed, grammars=grammars)) as base_url:
        yield base_url, timed


def served_config(base_url: str, texts: Path, *, max_in_flight: int = 512, **synthesis: Any) -> RunConfig:
    config = simulated_config(texts, **{"documents": 5, "candidates": 10, **synthesis}).model_dump()
    config["model"] = {"type": "endpoint", "base_url": base_url, "model": "simulated", "max_in_flight": max_in_flight}
    return parse_config(config | {"pairing": {"max_word_difference": None}})


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("served") / "texts", 8)


@pytest.mark.parametrize("scoring", ["pointwise", "per_criterion", "logprob", "pairwise", "anchor"])
def test_every_way_of_scoring_finds_the_better_answer(scoring: str, texts: Path, tmp_path: Path) -> None:
    with served() as (base_url, timed):
        pop.run(served_config(base_url, texts, scoring=scoring), tmp_path / "run")
        judged = timed.statistics()["by_role"]["judge"]
    calls = {"pairwise": 90, "anchor": 18, "pointwise": 10, "logprob": 10, "per_criterion": 10}[scoring]
    assert judged["completions"] >= 5 * calls and judged["cached_tokens"] > judged["prompt_tokens"] / 4
    pairs = list(read_pairs(tmp_path / "run" / "pairs.parquet"))
    gaps = [_quality(pair.chosen[0].content) - _quality(pair.rejected[0].content) for pair in pairs]
    assert len(gaps) >= 4 and min(gaps) > 0.2


def _quality(completion: str) -> float:
    return quality(completion.partition("<answer>")[2].partition("</answer>")[0])


def test_pairs_do_not_depend_on_how_many_episodes_calls_and_slots_there_are(texts: Path, tmp_path: Path) -> None:
    def exported(name: str, slots: int, **settings: Any) -> bytes:
        with served(slots, malformed_rate=0.1, runaway_rate=0.1) as (base_url, _):
            config = served_config(base_url, texts, solver={"first_tokens": 400}, **settings)
            pop.run(config, tmp_path / name)
        pop.export(tmp_path / name, tmp_path / f"{name}.jsonl")
        return (tmp_path / f"{name}.jsonl").read_bytes()

    wide = exported("wide", 256)
    assert wide == exported("narrow", 3, episodes_in_flight=1, max_in_flight=2) != b""


def test_a_run_away_costs_no_more_than_the_first_attempt_may(texts: Path, tmp_path: Path) -> None:
    def generated(name: str, **solver: Any) -> int:
        with served(runaway_rate=0.2) as (base_url, timed):
            pop.run(served_config(base_url, texts, solver=solver), tmp_path / name)
            return int(timed.statistics()["by_role"]["solver"]["generated_tokens"])

    cut, whole = generated("cut", first_tokens=300), generated("whole")
    assert cut < 50 * 300 and whole > cut + 3 * 5000


@pytest.mark.parametrize("scoring", ["pointwise", "per_criterion", "logprob", "pairwise", "anchor"])
def test_with_a_constraint_a_model_that_gets_every_form_wrong_gets_them_all_right(
    scoring: str, texts: Path, tmp_path: Path
) -> None:
    with served(malformed_rate=1.0) as (base_url, _):
        pop.run(served_config(base_url, texts, scoring=scoring, constrain="auto", documents=2), tmp_path / "run")
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        assert {reason for (_, _, reason) in journal.tally.calls} == {""}
    with Run(tmp_path / "run").look() as session:  # and the viewer fills every prompt again as it was sent
        for id_ in session.journal.finished_episodes(1):
            shown = show(session, id_)
            assert shown is not None and shown.calls
            assert all((again := filled(shown, called)) is not None and again.exact for called in shown.calls[::4])


@pytest.mark.parametrize("grammars", ["ignored", "refused"])
def test_where_the_server_decodes_by_no_grammar_auto_does_what_none_does(
    grammars: Grammars, texts: Path, tmp_path: Path
) -> None:
    def exported(constrain: str) -> bytes:
        with served(grammars=grammars, malformed_rate=0.1) as (base_url, _):
            pop.run(served_config(base_url, texts, constrain=constrain, documents=2), tmp_path / constrain)
        pop.export(tmp_path / constrain, tmp_path / f"{constrain}.jsonl")
        return (tmp_path / f"{constrain}.jsonl").read_bytes()

    assert exported("auto") == exported("none")
