"""Words and the spread of candidates."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.records import Candidate
from pop_selfplay.text.words import count_words, cut_words, has_words, spread

texts = st.one_of(st.text(), st.lists(st.sampled_from(["a", "bc", " ", "\n", "\t", "\x1f", "\u3000"])).map("".join))


def candidates(lengths: list[int]) -> list[Candidate]:
    return [Candidate(index=n, completion="", answer="word " * length) for n, length in enumerate(lengths)]


@given(texts, st.integers(1, 10))
def test_cutting_keeps_the_first_words_and_the_white_space_between_them(text: str, maximum: int) -> None:
    cut = cut_words(text, maximum)
    assert text.startswith(cut)
    assert cut.split() == text.split()[:maximum]
    assert cut == text or not cut[-1].isspace()


@given(texts, st.integers(0, 10))
def test_has_words_agrees_with_the_count(text: str, minimum: int) -> None:
    assert has_words(text, minimum) == (count_words(text) >= minimum)


@given(st.lists(st.integers(0, 50), max_size=70), st.integers(1, 12))
def test_the_spread_is_ordered_by_length_and_has_the_size_asked_for(lengths: list[int], count: int) -> None:
    shown = spread(candidates(lengths), count)
    keys = [(count_words(candidate.answer), candidate.index) for candidate in shown]
    assert keys == sorted(set(keys))
    assert len(shown) == min(count, len(lengths))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=70), st.integers(2, 12))
def test_the_spread_reaches_from_the_shortest_to_the_longest(lengths: list[int], count: int) -> None:
    shown = [count_words(candidate.answer) for candidate in spread(candidates(lengths), count)]
    assert shown[0] == min(lengths) and shown[-1] == max(lengths)


@given(st.lists(st.integers(0, 50), min_size=20, max_size=70), st.integers(2, 12))
def test_the_spread_is_even(lengths: list[int], count: int) -> None:
    places = {candidate.index: place for place, candidate in enumerate(spread(candidates(lengths), len(lengths)))}
    taken = [places[candidate.index] for candidate in spread(candidates(lengths), count)]
    gaps = [after - before for before, after in pairwise(taken)]
    assert max(gaps) - min(gaps) <= 1


def test_a_spread_of_one_is_the_median() -> None:
    assert [candidate.index for candidate in spread(candidates([9, 1, 5]), 1)] == [2]
