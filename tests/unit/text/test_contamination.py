"""A text that shares 13 words in a row with a benchmark is found, however it is dressed; twelve are not enough."""

from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.text.overlap import CONTAMINATION_WORDS, NO_BENCHMARKS, contaminated, index_benchmarks

QUESTION = "A farmer has seventeen sheep, and all but nine run away: how many sheep does the farmer have left?"
INDEX = index_benchmarks([QUESTION, "Too short to be found.", ""])
filler = st.lists(st.sampled_from("lorem ipsum dolor sit amet".split()), max_size=20).map(" ".join)


@given(filler, filler, st.integers(0, 18 - CONTAMINATION_WORDS), st.sampled_from([" ", "\n\n", " ** "]))
def test_thirteen_words_in_a_row_are_found_anywhere(before: str, after: str, start: int, space: str) -> None:
    part = space.join(QUESTION.split()[start : start + CONTAMINATION_WORDS]).upper()
    assert contaminated(f"{before} {part}. {after}", INDEX)


@given(filler, filler, st.integers(0, 18 - CONTAMINATION_WORDS + 1))
def test_twelve_words_are_not(before: str, after: str, start: int) -> None:
    assert not contaminated(f"{before} {' '.join(QUESTION.split()[start : start + CONTAMINATION_WORDS - 1])} {after}", INDEX)


def test_one_changed_word_in_the_middle_breaks_the_row() -> None:
    assert not contaminated(QUESTION.replace("nine", "eight"), INDEX)


def test_no_row_spans_two_benchmark_texts() -> None:
    words = QUESTION.split()
    assert not contaminated(QUESTION, index_benchmarks([" ".join(words[:10]), " ".join(words[10:])]))


def test_benchmark_texts_that_are_too_short_and_no_benchmarks_find_nothing() -> None:
    assert not contaminated("Too short to be found.", INDEX)
    assert not contaminated(QUESTION, NO_BENCHMARKS)
    assert not contaminated("", INDEX)
