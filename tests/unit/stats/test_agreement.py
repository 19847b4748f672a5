"""Agreement of two scorings: hand-computed cases, and rules that hold for all scorings."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.stats.comparisons import above, best_worst, pearson, ranks, spearman

SCORES = st.lists(st.integers(0, 4).map(float), min_size=2, max_size=8)
TWO = st.integers(2, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4).map(float), min_size=n, max_size=n)] * 2))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([10.0, 30.0, 20.0, 20.0, 5.0]) == [2, 5, 3.5, 3.5, 1]


def test_spearman_of_a_worked_example() -> None:
    # ranks 1 2 3 4 5 against 2 1 4 3 5: Σd² = 4, so 1 − 6·4/(5·24)
    assert spearman([1, 2, 3, 4, 5], [20, 10, 40, 30, 50]) == pytest.approx(0.8)


def test_a_flat_scoring_has_no_correlation_and_gives_no_pair() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]) is None and spearman([1, 2, 3], [0, 0, 0]) is None
    assert best_worst([1, 1], [0, 1]) is None and best_worst([1], [1]) is None and pearson([], []) is None


def test_scorings_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values beside 3"):
        pearson([1, 2], [1, 2, 3])


def test_best_against_worst_counts_a_tie_of_the_truth_as_half() -> None:
    assert best_worst([0, 1, 2], [0, 9, 1]) == 1
    assert best_worst([0, 1, 2], [1, 9, 0]) == 0
    assert best_worst([0, 1, 2], [1, 9, 1]) == 0.5


def test_candidates_that_tie_for_best_are_all_looked_at() -> None:
    assert best_worst([2, 2, 0], [5, 1, 3]) == 0.5  # one of the two best is above the worst
    assert best_worst([2, 2, 0, 0], [5, 1, 3, 0]) == pytest.approx(3 / 4)


def test_differences_beyond_the_last_digits_are_no_differences() -> None:
    assert above(0.1 + 0.2, 0.3) == 0.5 and above(1, 0) == 1 and above(0, 1) == 0


@given(TWO)
def test_agreement_with_the_reverse_is_one_minus_the_agreement(two: tuple[list[float], list[float]]) -> None:
    scores, truth = two
    found, reverse = best_worst(scores, truth), best_worst(scores, [-t for t in truth])
    assert (found is None) == (reverse is None)
    if found is not None and reverse is not None:
        assert 0 <= found <= 1 and found + reverse == pytest.approx(1)


@given(SCORES)
def test_a_scoring_agrees_with_itself_and_with_any_rising_function_of_it(scores: list[float]) -> None:
    for measure in (best_worst, spearman):
        assert measure(scores, [s**3 - 7 for s in scores]) in (None, pytest.approx(1))


@given(TWO)
def test_spearman_is_pearson_of_the_ranks_and_the_order_of_candidates_does_not_matter(
    two: tuple[list[float], list[float]],
) -> None:
    one, other = two
    found = spearman(one, other)
    swapped = spearman(one[::-1], other[::-1])
    assert (found is None) == (len(set(one)) < 2 or len(set(other)) < 2)
    if found is not None:
        assert found == pytest.approx(swapped) and -1 <= found <= 1
        assert found == pytest.approx(statistics.correlation(ranks(one), ranks(other)))
