"""Diversity measures: hand-computed cases, bounds, and intervals that a bootstrap could not give."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.text.overlap import by_halves, distinct, diversity, near_duplicate_flags, similarities, tfidf, vendi

WORDS = st.sampled_from("sun moon tree river stone wind leaf root".split())
TEXTS = st.lists(st.lists(WORDS, min_size=0, max_size=6).map(" ".join), min_size=1, max_size=8)


def test_distinct_counts_different_runs_among_all_runs() -> None:
    assert distinct(["a b a", "b c"], 1) == pytest.approx(3 / 5)
    assert distinct(["a b a", "b c"], 2) == 1  # ab, ba, bc
    assert distinct(["a b", "A, B!"], 2) == 0.5  # words are normalised
    assert math.isnan(distinct(["a"], 2))


def test_tfidf_weighs_a_word_by_its_count_and_its_rarity() -> None:
    vectors = tfidf(["a a b", "a"])  # a is in both of 2: ln(3/3)+1 = 1; b in one: ln(3/2)+1
    rare = math.log(1.5) + 1
    assert vectors[0] == pytest.approx(np.array([2, rare]) / math.hypot(2, rare))
    assert similarities(["a a b", "a"])[0, 1] == pytest.approx(2 / math.hypot(2, rare))


def test_texts_that_share_no_word_count_in_full_and_copies_count_once() -> None:
    assert vendi(similarities(["a", "b", "c"])) == pytest.approx(3)
    assert vendi(similarities(["a b"] * 5)) == pytest.approx(1)
    assert vendi(similarities(["a", "a", "b", "b"])) == pytest.approx(2)
    assert vendi(similarities(["", "", "a"])) == pytest.approx(math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)))
    assert math.isnan(vendi(np.zeros((0, 0))))


@given(TEXTS)
def test_the_effective_number_lies_between_one_and_the_number_of_texts(texts: list[str]) -> None:
    assert 1 - 1e-9 <= vendi(similarities(texts)) <= len(texts) + 1e-9
    assert vendi(similarities(texts)) == pytest.approx(vendi(similarities(texts[::-1])))


@given(TEXTS)
def test_a_second_copy_of_everything_adds_no_effective_text(texts: list[str]) -> None:
    assert vendi(similarities(texts * 2, texts)) == pytest.approx(vendi(similarities(texts)))


def test_near_duplicates_are_those_after_the_first() -> None:
    long = "the quick brown fox jumps over the lazy dog near the old mill by the river at dawn today"
    texts = [long, long + " again", "something else entirely is said here now"]
    assert near_duplicate_flags(texts, 0.8) == [False, True, False]


def test_halves_give_the_standard_error_of_a_mean() -> None:
    rng = random.Random(0)
    values = [rng.gauss(0, 1) for _ in range(400)]
    found = by_halves(400, lambda chosen: sum(values[place] for place in chosen) / len(chosen), 1, halves=1000)
    assert found.mean == pytest.approx(sum(values) / 400)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(values) / 20, rel=0.1)


def test_too_few_texts_give_no_false_certainty() -> None:
    assert by_halves(3, len, 0).high == math.inf and math.isnan(by_halves(0, len, 0).mean)


def test_collapsed_problems_measure_lower_than_diverse_ones_in_everything() -> None:
    rng = random.Random(4)
    words = [f"word{n}" for n in range(300)]
    diverse = [" ".join(rng.choices(words, k=12)) for _ in range(60)]
    collapsed = [rng.choice(diverse[:4]) for _ in range(60)]
    high, low = (diversity(texts, near=0.8, seed=1, corpus=diverse) for texts in (diverse, collapsed))
    assert low.vendi.high < 5 < high.vendi.low and low.distinct_1.high < high.distinct_1.low
    assert low.distinct_2.high < high.distinct_2.low and low.near_duplicates.mean > 0.9 > high.near_duplicates.mean == 0


def test_the_interval_of_a_share_ends_at_one() -> None:
    texts = ["one two", "three four", "five six", "seven eight nine nine"]
    assert diversity(texts, near=0.8, seed=0).distinct_1.high == 1.0
