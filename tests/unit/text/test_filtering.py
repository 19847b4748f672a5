"""Words and the spread of candidates."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.records import Candidate
from pop_selfplay.text.overlap import normalised_words
from pop_selfplay.text.words import count_words, cut_words, has_words, split_words, spread, style_of

UNSPACED = {
    "Chinese": "人工智能正在改变医疗保健的方式，医生可以利用算法更快地诊断疾病。",
    "Japanese": "吾輩は猫である。名前はまだ無い。ガギグ",
    "Thai": "ปัญญาประดิษฐ์กำลังเปลี่ยนแปลงวิธีการดูแลสุขภาพ",
    "Khmer": "បញ្ញាសិប្បនិម្មិត",
    "Lao": "ປັນຍາປະດິດ",
    "Burmese": "ဉာဏ်ရည်တု",
    "Tibetan": "བོད་སྐད་ཡིག་ནི",
    "Javanese": "ꦲꦤꦕꦫꦏꦢꦠꦱꦮꦭ",
    "Yi": "ꆈꌠꁱꂷꆈꌠꁱꂷꆈꌠ",
    "New Tai Lue": "ᦅᦱᧃᦈᦲᧃᦅᦱᧃᦈ",
}
texts = st.one_of(
    st.text(st.characters(max_codepoint=0xDFF)),
    st.lists(st.sampled_from(["a", "bc", " ", "\n", "\t", "\x1f", "\u3000"])).map("".join),
)


def candidates(lengths: list[int]) -> list[Candidate]:
    return [Candidate(index=n, completion="", answer="word " * length) for n, length in enumerate(lengths)]


@given(texts, st.integers(1, 10))
def test_cutting_keeps_the_first_words_and_the_white_space_between_them(text: str, maximum: int) -> None:
    cut = cut_words(text, maximum)
    assert text.startswith(cut)
    assert cut.split() == text.split()[:maximum]
    assert cut == text or not cut[-1].isspace()


unspaced = st.lists(st.sampled_from([*"人工智能。ปัญกำခ្ញああ゙ﾊﾞ", "word", "a", " ", "\n", "é", "!"]), max_size=30).map("".join)


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_a_text_without_spaces_has_the_words_that_near_duplicates_count(text: str) -> None:
    assert count_words(text) == len(normalised_words(text)) > 8
    assert count_words(text * 3000) == 3000 * count_words(text)
    assert count_words(f"{text} and {text}") == 2 * count_words(text) + 1
    assert has_words(text, 8) and style_of(text).words == count_words(text)


@given(st.one_of(st.text(), texts, unspaced), st.integers(1, 12))
def test_a_cut_is_a_beginning_of_the_original_with_no_more_words_and_ends_no_mark_from_its_letter(
    text: str, maximum: int
) -> None:
    cut = cut_words(text, maximum)
    assert text.startswith(cut) and count_words(cut) <= maximum
    assert len(split_words(cut)) == count_words(cut)
    if count_words(text) <= maximum:
        assert cut == text
    else:
        rest = text[len(cut) :].lstrip()
        assert rest and not (rest == text[len(cut) :] and unicodedata.category(rest[0])[0] == "M")


@given(unspaced, st.integers(0, 12))
def test_has_words_agrees_with_the_count_without_spaces(text: str, minimum: int) -> None:
    assert has_words(text, minimum) == (count_words(text) >= minimum)


def test_a_cut_comes_right_behind_its_last_word_and_the_marks_after_it() -> None:
    assert cut_words("你好，世界。", 2) == "你好，"
    assert cut_words("Say 你好世界 twice", 3) == "Say 你好"
    assert cut_words("你好world", 3) == "你好world"
    assert cut_words("人" * 96_000, 1024) == "人" * 1024


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_what_is_written_with_spaces_counts_as_ever(text: str) -> None:
    assert count_words(text) == len(text.split()) and split_words(text) == text.split()


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
