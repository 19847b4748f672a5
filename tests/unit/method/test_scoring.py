"""A score is the weighted mean over all criteria, and nothing less than all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.parsing import Marks
from pop_selfplay.method.rewards import comparison_score, lead, mean_ratings, score, win
from pop_selfplay.records import Comparison, Criterion, Rating, Rubric


def rubric_with(*weights: float) -> Rubric:
    return Rubric(criteria=tuple(Criterion(name=f"c{n}", description="", weight=w, gold="") for n, w in enumerate(weights)))


def rated(*ratings: float) -> list[Rating]:
    return [Rating(criterion=f"c{n}", rating=r) for n, r in enumerate(ratings)]


def test_heavier_criteria_count_more() -> None:
    assert score(rubric_with(3, 1), rated(2, 0)) == 1.5
    assert score(rubric_with(3, 1), rated(0, 2)) == 0.5


@pytest.mark.parametrize("ratings", [rated(2), rated(2, 2, 2), [*rated(2), *rated(2)]])
def test_an_evaluation_that_does_not_cover_the_rubric_is_refused(ratings: list[Rating]) -> None:
    with pytest.raises(ValueError, match="cover"):
        score(rubric_with(3, 1), ratings)


WEIGHTS = st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=1, max_size=5)


@given(WEIGHTS, st.data())
def test_every_score_lies_between_its_worst_and_best_rating(weights: list[float], data: st.DataObject) -> None:
    ratings = data.draw(st.lists(st.sampled_from([0, 1, 2]), min_size=len(weights), max_size=len(weights)))
    value = score(rubric_with(*weights), rated(*ratings))
    assert min(ratings) - 1e-9 <= value <= max(ratings) + 1e-9


@given(WEIGHTS)
def test_all_good_is_two_and_all_bad_is_zero(weights: list[float]) -> None:
    assert score(rubric_with(*weights), rated(*[2] * len(weights))) == pytest.approx(2)
    assert score(rubric_with(*weights), rated(*[0] * len(weights))) == 0


def test_the_score_of_mean_ratings_is_the_mean_of_the_scores() -> None:
    votes = [rated(2, 0), rated(1, 2), rated(2, 2)]
    rubric = rubric_with(3, 1)
    assert score(rubric, mean_ratings(votes)) == pytest.approx(sum(score(rubric, vote) for vote in votes) / 3)


def test_an_answer_wins_only_where_both_orders_prefer_it() -> None:
    assert (win("A", "B"), win("B", "A"), win("A", "A"), win("B", "B")) == (1, 0, 0.5, 0.5)


def test_a_lead_is_the_mean_over_both_orders_and_turns_round_with_the_answers() -> None:
    assert lead(as_a=Marks(8, 4), as_b=Marks(5, 7)) == 3
    assert lead(as_a=Marks(5, 7), as_b=Marks(8, 4)) == -3
    assert lead(as_a=Marks(9, 2), as_b=Marks(9, 2)) == 0  # the judge favours a place, not an answer


def test_the_score_of_comparisons_is_their_mean() -> None:
    assert comparison_score([Comparison(against=n, score=s) for n, s in enumerate((1, 0.5, 0))]) == 0.5
