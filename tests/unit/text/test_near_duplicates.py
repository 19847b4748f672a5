"""Texts that say nearly the same are found, and no others are called so."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pop_selfplay.text.overlap import NearDuplicates, banding, shingle_set, similarity

VOCABULARY = [f"w{number}" for number in range(5000)]
texts = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=20).map(" ".join)


def text(rng: random.Random, words: int = 100) -> list[str]:
    return rng.choices(VOCABULARY, k=words)


def changed(words: list[str], places: list[int]) -> str:
    """Return the text with the words at `places` exchanged for new ones."""
    return " ".join(f"x{place}" if place in places else word for place, word in enumerate(words))


@settings(deadline=None)
@given(texts, texts)
def test_similarity_is_the_shared_part_of_all_five_word_shingles(first: str, second: str) -> None:
    def rows(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        size = min(5, len(words))
        return {tuple(words[place : place + size]) for place in range(len(words) - size + 1)} if words else set()

    shared, either = rows(first) & rows(second), rows(first) | rows(second)
    expected = len(shared) / len(either) if shared else 0.0
    assert similarity(shingle_set(first), shingle_set(second)) == expected


@pytest.mark.parametrize(("places", "expected"), [([50], 0.90), ([20, 70], 0.81), ([20, 50, 70], 0.73)])
def test_the_module_s_examples_hold(places: list[int], expected: float) -> None:
    words = text(random.Random(0))
    alike = similarity(shingle_set(" ".join(words)), shingle_set(changed(words, places)))
    assert alike == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_texts_at_the_threshold_meet_in_a_band_at_least_99_times_in_100(threshold: float) -> None:
    bands, rows = banding(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


def test_alike_texts_are_found_and_unlike_ones_never_dropped() -> None:
    rng, unlike = random.Random(1), NearDuplicates(0.8)
    originals = [text(rng) for _ in range(300)]
    assert all(unlike.add(" ".join(words)) for words in originals)
    assert sum(not unlike.add(changed(words, [20, 70])) for words in originals) >= 295  # at 0.81, a hair above
    assert not any(unlike.add(changed(words, [50])) for words in originals)
    assert all(unlike.add(changed(words, [20, 50, 70])) for words in originals)  # at 0.73


def test_case_punctuation_and_white_space_make_no_difference_at_any_threshold() -> None:
    unlike = NearDuplicates(1.0)
    assert unlike.add("One two, three four five six.")
    assert not unlike.add("ONE two\n\nthree — four five (six)")
    assert unlike.add("one two three four five six seven")


def test_short_texts_are_compared_whole_and_wordless_ones_not_at_all() -> None:
    unlike = NearDuplicates(0.8)
    assert [unlike.add(text) for text in ("one two", "one two!", "one", "two", "...", "...", "")] == [
        True,
        False,
        True,
        True,
        True,
        True,
        True,
    ]
