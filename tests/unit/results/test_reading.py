"""Result files are read whichever they are, and one that cannot be says why and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.report.makers import HALF, audit_result, duel_result, estimate, eval_result, figure, round_result, run_result

from pop_selfplay.errors import UsageError
from pop_selfplay.results import DuelResult, Result, RunResult, read_result
from pop_selfplay.results.run import OnlineResult, OtherTraining, TrainingResult
from pop_selfplay.stats.intervals import clustered_mean

TRAINED = {"pairs_trained": 9, "pairs_held_out": 0, "dropped": {}, "steps": 3, "best_step": None, "first_loss": 0.7}
TRAINED |= {"last_loss": 0.6, "held_out": None, "seconds": 1.5, "tokens": 100}
SAMPLED = {"problems": 4, "dropped": {}, "steps": 2, "samples": 8, "judge_failures": {}, "invalid": {}, "first_reward": None}
SAMPLED |= {"last_reward": 0.5, "kl": None, "seconds": 1.5, "tokens": 100, "generated_tokens": 50}


def results() -> list[Result]:
    measure = {"self_play": {"greedy": {"before": HALF, "after": HALF, "gain": HALF}}}
    return [
        run_result(round_result(training=TRAINED), round_result(2, training=SAMPLED), measure=measure),
        eval_result("a model"),
        duel_result("a model"),
        audit_result(figure(), figure(missing="no judge", name="g")),
    ]


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_what_was_written_is_read_again_to_the_same_bytes(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "any-name.json"
    path.write_text(result.to_json(), encoding="utf-8")
    again = read_result(path)
    assert again == result and type(again) is type(result) and again.to_json() == result.to_json()
    assert next(iter(json.loads(result.to_json()))) == "schema"


def test_whole_numbers_stay_whole_and_nan_is_refused() -> None:
    assert eval_result("m").model_dump(mode="json")["benchmarks"][0]["scale"] == 1
    assert '"scale": 1,' in eval_result("m").to_json()
    with pytest.raises(ValidationError):
        estimate({"mean": float("nan"), "low": None, "high": None, "n": 1})


def test_an_estimate_is_rounded_and_null_where_it_cannot_be_told() -> None:
    found = type(estimate(HALF)).of(clustered_mean([1 / 3], ["a"]))
    assert found.model_dump() == {"mean": 0.333333, "low": None, "high": None, "n": 1}


def test_a_figure_that_is_missing_has_no_numbers_and_outcomes_are_there_only_for_exams() -> None:
    measured, missing = audit_result(figure(), figure(missing="no judge")).model_dump()["families"][0]["figures"]
    assert list(measured)[3:7] == ["mean", "low", "high", "n"] and not {"mean", "low", "high", "n"} & set(missing)
    plain = run_result(measure={"held_out_self_judged": {"sampled": {"before": HALF, "after": HALF, "gain": HALF}}})
    assert "outcomes" not in plain.model_dump()["measure"]["held_out_self_judged"]["sampled"]


@pytest.mark.parametrize(
    ("figures", "kind"), [(TRAINED, TrainingResult), (SAMPLED, OnlineResult), ({"mean_loss": [0.5, 0.4]}, OtherTraining)]
)
def test_the_figures_of_every_trainer_are_read_and_kept_also_of_one_from_elsewhere(figures: dict[str, Any], kind: type) -> None:
    training = round_result(training=figures).training
    assert type(training) is kind and training is not None and training.model_dump(mode="json") == figures


def test_a_file_of_an_older_version_is_read_without_the_fields_that_came_later(tmp_path: Path) -> None:
    data = run_result(round_result(training={name: value for name, value in TRAINED.items() if name != "best_step"}))
    path = tmp_path / "result.json"
    path.write_text(data.to_json().replace('     "best_step": null,\n', ""), encoding="utf-8")
    assert isinstance(read_result(path, RunResult).rounds[0].training, TrainingResult)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "does not hold a result of pop run, eval, audit, duel or rejudge"),
        ('{"schema": 2, "rounds": []}', "has schema 2 but this version of pop reads 1: update pop"),
        ('{"schema": 1, "rounds": []}', "is damaged: domain: Field required"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_result(path)


def test_a_missing_file_a_directory_and_bytes_that_are_no_text_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no result file .*audit\.json"):
        read_result(tmp_path / "typo.json")
    with pytest.raises(UsageError, match="name a result file"):
        read_result(tmp_path)
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is damaged"):
        read_result(tmp_path / "x.json")


def test_another_kind_than_the_expected_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(run_result().to_json(), encoding="utf-8")
    assert read_result(path, RunResult) == run_result()
    with pytest.raises(UsageError, match="does not hold what DuelResult describes"):
        read_result(path, DuelResult)
