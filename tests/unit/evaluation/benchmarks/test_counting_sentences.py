"""Sentences end where nltk's Punkt with its English data ends them: every count in CASES is what it says of that text."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.evaluation.benchmarks.instruction_checks import count_sentences, punkt, split

CASES = [
    ("One. Two! Three?", 3),
    ('She said "No." Then she left', 2),
    ("“Why?” he asked. “Because.”", 3),
    ("(It rained.) We left.", 2),
    ("no end", 1),
    ("Done.\n", 1),
    ("...", 1),
    ("No!!! Never.", 2),
    ("**Bold.** Then plain.", 2),
    ("It ends in bold: **the end.**", 2),
    ("1. First item\n2. Second item\n3. Third item", 4),
    ("1. first item\n2. second item", 1),
    ("A. The first\nB. The second", 3),
    ("See e.g. the list, i.e. all of it, etc. and more.", 4),
    ("He lives in the U.S. The law is strict there.", 2),
    ("It was 5 p.m. It was late.", 2),
    ("Inc. and Ltd. are firms. Acme Inc. is one.", 2),
    ("He is a well-known Dr. and a vs. fan.", 1),
    ("John F. Kennedy spoke. Thomas A. Edison listened.", 2),
    ("Dear Mr. Smith,\n\nThank you for it.\n\nYours,\nJ. K. Rowling\n\nP.S. I love it.", 3),
    ("Wait... The door opened.", 2),
    ("Wait... then it closed.", 1),
    ("Visit example.com. It costs $3.5. That is cheap.", 3),
    ("Yes. [1] No. {2} Perhaps.", 3),
    ("What is 2+2? It's 4.", 2),
]


@pytest.fixture(autouse=True)
def fresh_punkt() -> Iterator[None]:
    punkt.cache_clear()
    yield
    punkt.cache_clear()


@pytest.mark.parametrize(("text", "count"), CASES)
def test_sentences_end_where_punkt_ends_them(text: str, count: int) -> None:
    assert len(split(text)) == count


@given(st.text(alphabet=" \n.?!…\"')(*aAiB1", max_size=40))
def test_nothing_of_a_text_but_space_is_lost_or_put_twice(text: str) -> None:
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split()) and all(sentences)


def test_a_long_run_without_a_space_is_read_in_one_pass() -> None:
    assert len(split("a." * 100_000)) == 1 and len(split('."' * 100_000)) == 1


def test_where_punkt_and_its_data_are_installed_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class PunktTokenizer:
        def __init__(self, language: str) -> None:
            assert language == "english"

        def tokenize(self, text: str) -> list[str]:
            return text.split("|")

    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", SimpleNamespace(PunktTokenizer=PunktTokenizer))
    assert count_sentences("a|b|c") == 3


def test_without_punkt_s_data_our_own_rules_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_data(language: str) -> None:
        raise LookupError("Resource punkt_tab not found")

    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", SimpleNamespace(PunktTokenizer=no_data))
    assert count_sentences("One. Two.") == 2
