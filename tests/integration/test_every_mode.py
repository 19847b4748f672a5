"""Whole runs on the simulated model, one for every mode of the method: each ends in pairs that follow the hidden quality."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import pop_selfplay as pop
from pop_selfplay.cli.app import app
from pop_selfplay.config import RunConfig, dump_config, parse_config
from pop_selfplay.errors import DomainError
from pop_selfplay.journal.pairs import read_pairs
from pop_selfplay.method.parsing import Parsed, parse_answer
from pop_selfplay.models.simulated.prose import quality
from pop_selfplay.records import PreferencePair
from tests.integration.runs import simulated_config, write_texts

MODES: dict[str, dict[str, Any]] = {
    "pointwise": {},
    "per_criterion": {"scoring": "per_criterion"},
    "pairwise": {"scoring": "pairwise"},
    "anchor": {"scoring": "anchor"},
    "logprob": {"scoring": "logprob"},
    "votes": {"votes": 3, "judge": {"temperature": 0.7}},
    "early stop": {"candidates": 12, "early_stop": {"first_share": 0.25, "gap": 1.0}},
    "early stop by logprob": {"candidates": 12, "scoring": "logprob", "early_stop": {"first_share": 0.25, "gap": 1.0}},
    "identical answers once": {"share_identical": True},
    "schema": {"json_schema": True},
    "schema for ratings alone": {"json_schema": True, "scoring": "logprob"},
    "no document for the rubric": {"document_for": ["proposer"]},
    "no document": {"document_for": []},
    "several problems": {"problems_per_document": 3, "documents": 4},
    "reference scored": {"score_reference": True},
}
PAIRING = {"max_word_difference": None}  # twelve documents are few: keep every pair that has a spread


def configured(texts: Path, **synthesis: Any) -> RunConfig:
    return parse_config(simulated_config(texts, **synthesis).model_dump() | {"pairing": PAIRING})


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("modes") / "texts", 12)


def calls(run: Path, question: str = "count(*)", where: str = "1") -> Any:
    with closing(sqlite3.connect(run / "run.db")) as db:
        return db.execute(f"SELECT {question} FROM calls WHERE {where}").fetchone()[0]


def true_gaps(run: Path) -> Iterator[float]:
    """Yield by how much the chosen answer of each pair is truly better."""

    def hidden(messages: Any) -> float:
        answer = parse_answer(messages[-1].content)
        assert isinstance(answer, Parsed)
        return quality(answer.value)

    for pair in read_pairs(run / "pairs.parquet"):
        yield hidden(pair.chosen) - hidden(pair.rejected)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_ends_in_pairs_of_which_the_better_answer_is_chosen(mode: str, texts: Path, tmp_path: Path) -> None:
    result = pop.run(configured(texts, **MODES[mode]), tmp_path / "run")
    (round_,) = result.rounds
    wanted = round_.documents * MODES[mode].get("problems_per_document", 1)
    assert round_.pairs + sum(count for why, count in round_.dropped.items() if not why.startswith("corpus.")) == wanted
    gaps = list(true_gaps(tmp_path / "run"))
    assert len(gaps) == round_.pairs >= 8
    assert min(gaps) > -0.25 and sum(gap > 0 for gap in gaps) >= 0.9 * len(gaps)


def test_boxed_answers_are_verified_without_a_judge_and_agree_with_one_where_both_are_asked(
    texts: Path, tmp_path: Path
) -> None:
    boxed = configured(texts).model_dump() | {"domain": "math"}
    verified = boxed | {"synthesis": boxed["synthesis"] | {"scoring": "verify", "candidates": 16}}
    result = pop.run(parse_config(verified), tmp_path / "verified")
    assert set(result.roles) == {"proposer", "solver"} and result.rounds[0].pairs > 0
    for pair in read_pairs(tmp_path / "verified" / "pairs.parquet"):
        assert (
            boxed_value(pair.chosen[-1].content) == boxed_value(pair.reference_answer) != boxed_value(pair.rejected[-1].content)
        )
    judged = pop.run(parse_config(boxed | {"synthesis": boxed["synthesis"] | {"candidates": 16}}), tmp_path / "judged")
    assert judged.rounds[0].verify_agreement.n > 0
    page = (tmp_path / "judged" / "report.html").read_text(encoding="utf-8")
    assert "a right one scores above a wrong one" in page


def boxed_value(text: str) -> str:
    return text.rpartition("\\boxed{")[2].partition("}")[0]


def test_a_criterion_that_the_judge_left_out_is_asked_for_again(texts: Path, tmp_path: Path) -> None:
    data = configured(texts).model_dump() | {"model": {"type": "simulated", "mistakes": {"omitted_criterion": 0.3}}}
    result = pop.run(parse_config(data), tmp_path / "run")
    judged = result.roles["judge"]
    assert judged["missing_rating"] > 5
    again = "role = 'judge' AND reason = '' AND attempt > 0"
    assert calls(tmp_path / "run", where=again) > 5
    assert result.rounds[0].evaluations > 0.9 * result.rounds[0].candidates


def test_the_report_shows_how_well_criteria_separate_and_what_the_reference_answer_scores(texts: Path, tmp_path: Path) -> None:
    config = configured(texts, score_reference=True)
    result = pop.run(config, tmp_path / "run")
    round_ = result.rounds[0]
    difference = round_.criteria.difference.mean
    assert difference is not None and difference > 0.2 and round_.reference_answers.scored > 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"{difference:.3f}" in page and "power</th>" in page
    assert "reference answers that score below the median candidate" in page and "It scores" in page
    dropping = parse_config(config.model_dump() | {"pairing": PAIRING | {"reference_below_median": "drop"}})
    dropped = pop.run(dropping, tmp_path / "dropping", fork_from=tmp_path / "run").rounds[0].dropped
    assert 0 < dropped["pair.reference_below_median"] <= round_.reference_answers.below_median


@pytest.mark.parametrize("role", ["proposer", "solver", "rubric_writer", "judge"])
def test_a_teacher_plays_its_one_role_and_no_other(role: str, texts: Path, tmp_path: Path) -> None:
    data = configured(texts, documents=6).model_dump()
    teacher = {"type": "simulated", "seed": 99}
    plain, taught = tmp_path / "plain", tmp_path / "taught"
    pop.run(parse_config(data), plain)
    result = pop.run(parse_config(data | {"teachers": {role: teacher}}), taught)
    assert result.rounds[0].pairs > 0
    first = {"proposer": 0, "solver": 1, "rubric_writer": 2, "judge": 3}
    same = "SELECT text FROM calls WHERE role = ? AND attempt = 0 AND reason = '' ORDER BY episode, item LIMIT 1"
    with closing(sqlite3.connect(plain / "run.db")) as one, closing(sqlite3.connect(taught / "run.db")) as other:
        for earlier in (name for name in first if first[name] < first[role]):
            assert one.execute(same, (earlier,)).fetchone() == other.execute(same, (earlier,)).fetchone()
        assert one.execute(same, (role,)).fetchone() != other.execute(same, (role,)).fetchone()


def test_a_run_by_the_command_line_takes_over_another_run_s_problems_answers_and_rubrics(texts: Path, tmp_path: Path) -> None:
    runner = CliRunner()

    def play(name: str, *settings: str) -> Path:
        (tmp_path / "pop.yaml").write_text(dump_config(configured(texts)), encoding="utf-8")
        arguments = [argument for setting in settings for argument in ("--set", setting)]
        done = runner.invoke(app, ["run", str(tmp_path / "pop.yaml"), "--out", str(tmp_path / name), *arguments])
        assert done.exit_code == 0, done.output
        return tmp_path / name

    first = play("first")
    reuse = f"synthesis.reuse={{run: {first}, rubrics: true}}"
    second = play("second", reuse, "synthesis.scoring=anchor")
    assert calls(second, "sum(generated_tokens)", "role <> 'judge'") == 0 < calls(second, "sum(generated_tokens)")
    one, other = (list(read_pairs(run / "pairs.parquet")) for run in (first, second))
    assert problems(other) & problems(one) and yaml.safe_load((second / "config.yaml").read_text())["synthesis"]["reuse"]


def problems(pairs: list[PreferencePair]) -> set[str]:
    return {pair.prompt[-1].content for pair in pairs}


def test_several_problems_of_a_document_are_different_ones(texts: Path, tmp_path: Path) -> None:
    pop.run(configured(texts, problems_per_document=3, documents=4), tmp_path / "run")
    by_document: dict[str, set[str]] = {}
    for pair in read_pairs(tmp_path / "run" / "pairs.parquet"):
        by_document.setdefault(pair.document_id, set()).add(pair.prompt[-1].content)
    assert max(map(len, by_document.values())) == 3


def test_what_logprob_read_is_in_the_journal_and_a_resume_reads_the_same(texts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pop.run(configured(texts, scoring="logprob"), run)
    before = (run / "pairs.parquet").read_bytes()
    assert calls(run, where="role = 'judge' AND reason = '' AND probabilities = ''") == 0
    assert calls(run, where="role <> 'judge' AND probabilities <> ''") == 0
    assert calls(run, "avg(generated_tokens)", "role = 'judge' AND reason = ''") < 40
    with closing(sqlite3.connect(run / "run.db")) as db:
        db.execute("DELETE FROM episodes WHERE rowid % 2")
        db.commit()
    made = calls(run)
    result = pop.run(configured(texts, scoring="logprob"), run)
    assert calls(run) == made and (run / "pairs.parquet").read_bytes() == before
    assert pop.read_result(run / "result.json") == result


def test_a_run_without_the_prompt_of_its_mode_is_refused_before_anything_is_asked(texts: Path, tmp_path: Path) -> None:
    domain = tmp_path / "bare"
    domain.mkdir()
    (domain / "domain.yaml").write_text("description: x", encoding="utf-8")
    for name in ("propose", "solve", "rubric", "rate"):
        (domain / f"{name}.md").write_text("<!-- user -->\nx", encoding="utf-8")
    data = configured(texts, scoring="logprob").model_dump() | {"domain": str(domain)}
    with pytest.raises(DomainError, match="rate_logprob"):
        pop.run(parse_config(data), tmp_path / "run")
