"""What the ratings of a group say about the rubric that made them."""

import pytest

from pop_selfplay.method.problems import below_median, criterion_power, verify_agreement
from pop_selfplay.records import REFERENCE, Criterion, Evaluation, Rating, Rubric

RUBRIC = Rubric(criteria=tuple(Criterion(name=name, description="", weight=1, gold="") for name in ("sharp", "dull")))


def rated(index: int, sharp: float, dull: float = 1) -> Evaluation:
    ratings = (Rating(criterion="sharp", rating=sharp), Rating(criterion="dull", rating=dull))
    return Evaluation(candidate=index, ratings=ratings, score=(sharp + dull) / 2)


def scored(index: int, score: float, verified: bool | None = None) -> Evaluation:
    return Evaluation(candidate=index, score=score, verified=verified)


def test_a_criterion_by_which_all_fare_alike_has_no_power() -> None:
    sharp, dull = criterion_power(RUBRIC, [rated(0, 0), rated(1, 2), rated(2, 0), rated(3, 2)])
    assert (dull.std, dull.difference) == (0, 0)
    assert sharp.std == 1 and sharp.difference == pytest.approx(4 / 3)


def test_a_group_without_ratings_says_nothing_about_its_criteria() -> None:
    assert criterion_power(RUBRIC, [scored(0, 0.5), scored(1, 0.2)]) == ()
    assert criterion_power(RUBRIC, [rated(0, 2)]) == ()


def test_agreement_is_the_share_of_right_answers_above_wrong_ones() -> None:
    assert verify_agreement([scored(0, 2, True), scored(1, 1, False), scored(2, 0, False)]) == 1
    assert verify_agreement([scored(0, 1, True), scored(1, 1, False)]) == 0.5
    assert verify_agreement([scored(0, 0, True), scored(1, 2, False), scored(2, 0, False)]) == 0.25
    assert verify_agreement([scored(0, 2, True), scored(1, 1, True)]) is None
    assert verify_agreement([scored(0, 2), scored(1, 1)]) is None


def test_a_reference_answer_as_good_as_the_median_is_not_below_it() -> None:
    group = [scored(n, score) for n, score in enumerate((0.0, 1.0, 2.0))]
    assert below_median(scored(REFERENCE, 0.9), group)
    assert not below_median(scored(REFERENCE, 1.0), group)
