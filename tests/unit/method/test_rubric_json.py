"""Rubrics and evaluations in other forms: read where the form leaves no doubt which criterion gets which rating."""

import json
import unicodedata
from typing import Any

import pytest

from pop_selfplay.method.parsing import Parsed, Rejection, parse_evaluation, parse_rubric
from pop_selfplay.records import Criterion


def criterion(name: str, weight: Any = 1) -> dict[str, Any]:
    return {"name": name, "description": "d", "weight": weight, "gold": "g"}


def rated(names: list[str], evaluation: Any) -> Parsed[tuple[float, ...]] | str:
    criteria = [Criterion(name=name, description="d", weight=1, gold="g") for name in names]
    body = evaluation if isinstance(evaluation, str) else json.dumps(evaluation, ensure_ascii=False)
    parsed = parse_evaluation(f"<evaluation>{body}</evaluation>", criteria)
    if isinstance(parsed, Rejection):
        return parsed.reason
    assert [rating.criterion for rating in parsed.value] == names
    return Parsed(tuple(rating.rating for rating in parsed.value), parsed.repaired)


REPAIRED = Parsed((2.0, 0.0), repaired=True)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Naïve café", unicodedata.normalize("NFD", "Naïve café")),
        ("Dose", "Do\u200bse"),
        ("Patient's dose", "Patient’s dose"),
        ("The “safe” dose", 'The "safe" dose'),
        ("Dose–response", "Dose-response"),
        ("Dose", "1. Dose"),
        ("Dose", "(1) Dose"),
        ("Dose", "Criterion 1: Dose"),
        ("1. Dose", "Dose"),
        ("Dose", "Dose:"),
        ("Dose", "**Dose**"),
        ("Dose", "Ｄｏｓｅ"),
        ("Dose", "criterion_1"),
        ("Dose", "Criterion 1"),
    ],
)
def test_a_name_in_another_spelling_is_found_and_told_as_repaired(name: str, written: str) -> None:
    assert rated([name, "Risk"], [{"name": written, "rating": 2}, {"name": "Risk", "rating": 0}]) == REPAIRED


@pytest.mark.parametrize(
    "evaluation",
    [
        {"evaluation": {"criterion_1": {"name": "Dose", "rating": 2}, "criterion_2": {"name": "Risk", "rating": 0}}},
        {"ratings": [{"name": "Dose", "rating": 2}, {"name": "Risk", "rating": 0}]},
        {"evaluation": {"ratings": [{"name": "Dose", "rating": 2}, {"name": "Risk", "rating": 0}]}, "overall": 1},
        {"ratings": {"Dose": 2, "Risk": 0}},
        {"result": {"criterion_1": {"name": "Dose", "rating": 2}, "criterion_2": {"name": "Risk", "rating": 0}}},
        {"scores": {"Dose": 2, "Risk": 0}, "total": 2},
        {"Dose": 2, "Risk": 0},
        {"criterion_1": {"rating": 2}, "criterion_2": {"rating": 0}, "overall": {"thoughts": "good", "rating": 1}},
        {"criterion_1": {"rating": 2}, "criterion_2": {"rating": 0}, "overall_score": 3, "thoughts": "fine"},
        [{"name": "Dose", "rating": 2}, {"name": "Risk", "rating": 0}, {"name": "Overall", "rating": 1}],
        {"criterion_1": {"rating": "2"}, "criterion_2": {"rating": "0"}},
        {"Criterion 1": {"rating": 2}, "Criterion 2": {"rating": 0}},
        {"1": {"rating": 2}, "2": {"rating": 0}},
        [{"criterion": "Dose", "rating": "2.0"}, {"criterion": "Risk", "rating": 0}],
    ],
)
def test_a_form_that_leaves_no_doubt_is_read_and_told_as_repaired(evaluation: Any) -> None:
    assert rated(["Dose", "Risk"], evaluation) == REPAIRED


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        ({"criterion_1": {"criterion": "Taste", "rating": 2}, "criterion_2": {"rating": 0}}, "unknown_criterion"),
        ({"criterion_1": {"name": "Risk", "rating": 2}, "criterion_2": {"rating": 0}}, "duplicate_rating"),
        ({"criterion_1": {"rating": 2, "Rating": 0}, "criterion_2": {"rating": 0}}, "duplicate_name"),
        ({"evaluation": {"criterion_1": {"rating": 2}}}, "missing_rating"),
        ({"ratings": [2, 0]}, "wrong_shape"),
        ({"ratings": [{"name": "Dose", "rating": 2}], "evaluation": [{"name": "Risk", "rating": 0}]}, "wrong_shape"),
        ({"criterion_1": [2], "criterion_2": [0]}, "wrong_shape"),
        ({"criterion_1": None, "criterion_2": {"rating": 0}}, "wrong_shape"),
        ({"criterion_1": {"rating": "+2"}, "criterion_2": {"rating": 0}}, "bad_rating"),
        ({"criterion_1": {"rating": "²"}, "criterion_2": {"rating": 0}}, "bad_rating"),
        ('{"criterion_1": {"rating": 2}, "criterion_2": {"rating": −0}}', "bad_rating"),
        ('{"criterion_1": {"rating": 2}}{"criterion_2": {"rating": 0}}', "wrong_shape"),
        ('{"criterion_1": {"rating": 2}, "criterion_2": {"rating": 1}, "criterion_2": {"rating": 0},}', "duplicate_name"),
    ],
)
def test_a_form_that_leaves_a_doubt_is_refused(evaluation: Any, reason: str) -> None:
    assert rated(["Dose", "Risk"], evaluation) == reason


def test_names_that_a_loose_reading_would_confuse_are_told_apart_by_the_exact_one_alone() -> None:
    names = ["x2", "x²"]
    assert rated(names, [{"name": "x2", "rating": 2}, {"name": "x²", "rating": 0}]) == Parsed((2.0, 0.0))
    assert rated(names, [{"name": "x2:", "rating": 2}, {"name": "x²", "rating": 0}]) == "unknown_criterion"


def test_a_criterion_named_like_a_remark_is_a_criterion() -> None:
    assert rated(["Overall", "Risk"], {"Overall": {"rating": 2}, "Risk": {"rating": 0}}) == Parsed((2.0, 0.0))


@pytest.mark.parametrize("weight", ["−1", "50%", "1 000", "<2", "1,5", "~3"])
def test_a_weight_with_anything_beside_its_number_is_refused(weight: str) -> None:
    body = '{"criterion_1": {"name": "Dose", "description": "d", "weight": %s, "gold": "g"}}'
    for written in (weight, f'"{weight}"'):
        parsed = parse_rubric(f"<rubric>{body % written}</rubric>")
        assert isinstance(parsed, Rejection) and parsed.reason == "bad_weight"


@pytest.mark.parametrize(
    "rubric",
    [
        {"rubric": {"criteria": [criterion("Dose"), criterion("Risk")]}},
        {"thoughts": "first the dose", "criterion_1": criterion("Dose"), "criterion_2": criterion("Risk"), "total": 2},
        {"criterion_1": criterion("Dose", "1"), "criterion_2": criterion("Risk", "1.0")},
    ],
)
def test_a_rubric_in_a_form_that_leaves_no_doubt_is_read_and_told_as_repaired(rubric: Any) -> None:
    parsed = parse_rubric(f"<rubric>{json.dumps(rubric)}</rubric>")
    assert isinstance(parsed, Parsed) and parsed.repaired
    assert [(c.name, c.weight) for c in parsed.value.criteria] == [("Dose", 1), ("Risk", 1)]


def test_levels_as_an_object_of_texts_are_a_description() -> None:
    levels = {"full": "names both elements", "partial": "names one", "zero": " names none"}
    parsed = parse_rubric(f"<rubric>{json.dumps([criterion('Dose') | {'description': levels}])}</rubric>")
    assert isinstance(parsed, Parsed) and parsed.repaired
    assert parsed.value.criteria[0].description == "full: names both elements\npartial: names one\nzero: names none"
    for other in ({}, {"full": {"text": "both"}}, ["both"], 7):
        refused = parse_rubric(f"<rubric>{json.dumps([criterion('Dose') | {'description': other}])}</rubric>")
        assert isinstance(refused, Rejection) and refused.reason == "wrong_type"
