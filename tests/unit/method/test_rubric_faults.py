"""Generic and redundant criteria are told by the stated rules, and by nothing else."""

import pytest

from pop_selfplay.method.problems import general_name, generic_criteria, has_gold, rating_correlations
from pop_selfplay.records import Criterion, Evaluation, Rating, Rubric


def criterion(name: str, gold: str = "Not applicable", description: str = "") -> Criterion:
    return Criterion(name=name, gold=gold, description=description or f"looks for {name}", weight=1)


def rated(*columns: tuple[float, ...]) -> tuple[Evaluation, ...]:
    """Return one evaluation for each candidate; `columns` hold the ratings by criterion c0, c1, …"""
    return tuple(
        Evaluation(
            candidate=index,
            ratings=tuple(Rating(criterion=f"c{n}", rating=value) for n, value in enumerate(row)),
            score=0,
        )
        for index, row in enumerate(zip(*columns, strict=True))
    )


@pytest.mark.parametrize("gold", ["Not applicable", "not applicable.", " N/A ", "none", "", "No gold answer"])
def test_every_way_to_say_that_there_is_no_gold_answer_is_known(gold: str) -> None:
    assert not has_gold(criterion("dose", gold))


def test_a_gold_answer_that_only_begins_like_that_is_one() -> None:
    assert has_gold(criterion("risk", "None of the drugs may be combined"))


@pytest.mark.parametrize("name", ["Clarity", "Overall accuracy of the response", "clear and concise writing", "Completeness."])
def test_a_name_of_general_qualities_is_general(name: str) -> None:
    assert general_name(criterion(name))


@pytest.mark.parametrize("name", ["Accuracy of the dose", "Names the antidote", "Tone of the letter to the aunt"])
def test_a_name_with_one_specific_word_is_not_general(name: str) -> None:
    assert not general_name(criterion(name))


def test_a_criterion_is_generic_by_its_name_or_by_a_text_that_other_rubrics_share_unless_it_has_gold() -> None:
    pasted = "Is it well written?"
    rubrics = {
        "a": Rubric(criteria=(criterion("clarity"), criterion("dose", "two drops"), criterion("voice", description=pasted))),
        "b": Rubric(criteria=(criterion("accuracy", "it is 1789"), criterion("manner", description="is it WELL written"))),
        "c": Rubric(criteria=(criterion("voice of the aunt", description="Speaks as the aunt would"),)),
    }
    assert generic_criteria(rubrics) == {"a": [True, False, True], "b": [False, True], "c": [False]}


def test_a_text_twice_in_the_same_rubric_is_not_pasted_from_elsewhere() -> None:
    twice = Rubric(criteria=(criterion("salt", description="same"), criterion("pepper", description="same")))
    assert generic_criteria({"a": twice}) == {"a": [False, False]}


def test_correlations_are_those_of_every_two_criteria_and_flat_ones_have_none() -> None:
    rubric = Rubric(criteria=tuple(criterion(f"c{n}") for n in range(4)))
    found = rating_correlations(rubric, rated((0, 1, 2), (0, 1, 2), (2, 1, 0), (1, 1, 1)))
    assert found == pytest.approx([1, -1, -1])
    assert rating_correlations(rubric, ()) == []
