"""The pocket model, from a local directory, sits a benchmark, fights a duel, and its run's report shows it."""

import json
import shutil
from pathlib import Path

import pytest
from inspect_ai._util import entrypoints
from inspect_ai.log import read_eval_log

import pop_selfplay as pop
from pop_selfplay.config import NoMeasure
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.runs.session import open_session
from pop_selfplay.selfplay import play_synthesis
from tests.learning import Margins, shifted
from tests.unit.evaluation.makers import write_rows
from tests.unit.evaluation.test_evaluate import SUMS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrypoints, "_inspect_ai_eps_loaded_all", True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small pocket run whose first round has a model: a copy of the pocket model."""
    path = tmp_path_factory.mktemp("evaluation") / "run"
    whole = quickstart_config(seed=shifted(5), rounds=1, document=True)
    few = whole.synthesis.model_copy(update={"documents": 6, "candidates": 4})
    config = whole.model_copy(update={"synthesis": few, "measure": NoMeasure()})
    with open_session(path, config) as session:
        play_synthesis(session)
        shutil.copytree(POCKET_WEIGHTS, session.directory.model_path(1))
    return path


def test_a_local_directory_is_served_for_a_benchmark_and_the_run_reports_it(run: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS[:4])
    suite = tmp_path / "short.yaml"
    suite.write_text("benchmarks: [{name: gsm8k, max_tokens: 32}]", encoding="utf-8")
    result = pop.evaluate(str(run), suite=str(suite), data_dir=data)
    (row,) = result.benchmarks
    assert (result.model, result.against) == ("run#1", "run#0") and (row.lost.base, row.lost.model) == ({}, {})
    assert row.figures["accuracy"].difference == pop.ReportedEstimate(mean=0.0, low=-0.75036, high=0.75036, n=4)
    log = read_eval_log(str(run / "evaluation" / row.logs.model))
    assert log.eval.model == "pop/run#1" and log.samples and all(sample.output.completion for sample in log.samples)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h2>Benchmarks</h2>" in page and "GSM8K" in page


@pytest.mark.learning
def test_a_duel_over_the_problems_of_a_run_goes_by_its_rubrics(run: Path, tmp_path: Path, margins: Margins) -> None:
    weights = tmp_path / "copy"
    shutil.copytree(POCKET_WEIGHTS, weights)
    result = pop.duel(
        str(weights), "pocket", judge="pocket", run=run, round=1, temperature=1.0, samples=2, out=tmp_path / "duel"
    )
    fought = result.wins + result.ties + result.losses
    assert fought + sum(result.lost.values()) == 2 * result.prompts.count
    margins.above("share of comparisons that are judged", fought / (2 * result.prompts.count), 0.5)
    assert result.prompts.count >= 4
    assert result.criteria is not None and result.criteria.by_name and result.flip_rate.n == 0
    rows = [json.loads(line) for line in (tmp_path / "duel" / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["a"] == row["b"] for row in rows} == {True, False} or all(row["a"] != row["b"] for row in rows)
