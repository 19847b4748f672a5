"""What makes no difference between words, and what makes one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.text.overlap import normalised_words, shingles

words = st.lists(st.text("abc", min_size=1, max_size=3), max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The QUICK, brown\n\tfox!", ["the", "quick", "brown", "fox"]),
        ("don't — x=3.5 \\frac{a}{b}", ["don", "t", "x", "3", "5", "frac", "a", "b"]),
        ("Straße \N{LATIN SMALL LIGATURE FI}sh \N{SUPERSCRIPT TWO}", ["strasse", "fish", "2"]),
        ("hid\N{ZERO WIDTH SPACE}den soft\N{SOFT HYPHEN}ly", ["hidden", "softly"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("café cafe\N{COMBINING ACUTE ACCENT}", ["café", "café"]),
        ("北京有2家 한국어 단어", ["北", "京", "有", "2", "家", "한국어", "단어"]),
        ("half a pair \ud800 of surrogates", ["half", "a", "pair", "of", "surrogates"]),
        (" … \n", []),
    ],
)
def test_words_are_normalised(text: str, expected: list[str]) -> None:
    assert normalised_words(text) == expected


@given(words, st.integers(1, 6))
def test_there_is_one_shingle_for_every_words_in_a_row(words: list[str], size: int) -> None:
    hashes = shingles(words, size)
    assert len(hashes) == max(0, len(words) - size + 1)
    rows = [tuple(words[place : place + size]) for place in range(len(hashes))]
    assert len(set(hashes.tolist())) == len(set(rows)), "equal hashes for equal words, and no others"
    assert np.array_equal(hashes[1:], shingles(words[1:], size)[: max(0, len(hashes) - 1)]), "wherever they stand"


def test_shingles_are_the_same_on_every_machine() -> None:
    assert shingles(["one", "two", "three"], 2).tolist() == [13608720083063429163, 5731641460531960659]
