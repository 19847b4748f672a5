"""Each kind of instruction is followed by what follows it and by nothing else; loose scoring forgives what it says."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pop_selfplay.evaluation.benchmarks.instruction_checks import CHECKS, count_sentences, follow_all, follows, punkt, variants

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["moss", "fern"]}, "Ferns like Moss.", "Only moss."),
    ("keywords:frequency", {"keyword": "moss", "frequency": 2, "relation": "at least"}, "Moss, moss.", "moss"),
    ("keywords:frequency", {"keyword": "moss", "frequency": 2, "relation": "less than"}, "moss", "moss moss"),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "The rainbow.", "The Rain."),
    ("keywords:letter_frequency", {"letter": "x", "let_frequency": 2, "let_relation": "at least"}, "Xx", "x"),
    ("language:response_language", {"language": "de"}, "Ja.", "Yes."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "Just one."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\nb\n***\nc"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\na\n***\nb", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "two words", "three little words"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "moss"},
        "One.\n\n'Moss, two.",
        "Moss.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] [date]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np.s. More", "Bye."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye. P.P.S: more", "Bye. P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n** two"),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", "My answer is perhaps."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", "*one* and **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1 SECTION 2",
        "SECTION 1",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<a title>>\ntext", "<< >>"),
    ("combination:two_responses", {}, "one******two", "one******one"),
    ("combination:two_responses", {}, "one\n******\ntwo\n", "one******two******three"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it. "}, "say it. Said.", "Said."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'x the END."', "The end. x"),
    ("startend:quotation", {}, '"said"', '"'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and ESA",
        "NASA's, Esa",
    ),
    ("change_case:english_capital", {}, "ALL OF IT.", "All of it."),
    ("change_case:english_lowercase", {}, "all of it.", "All of it."),
    ("punctuation:no_comma", {}, "one two", "one, two"),
]


def detect(text: str) -> str | None:
    return "de" if text.startswith("Ja") else "en"


@pytest.mark.parametrize(("kind", "arguments", "right", "wrong"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_what_follows_passes_and_what_does_not_fails(kind: str, arguments: dict[str, Any], right: str, wrong: str) -> None:
    assert follows(kind, right, arguments, detect)
    assert not follows(kind, wrong, arguments, detect)


def test_every_kind_is_tested_and_an_empty_response_follows_none() -> None:
    assert {kind for kind, *_ in CASES} == set(CHECKS) and len(CHECKS) == 25
    assert not any(follows(kind, "  ", arguments, detect) for kind, arguments, _, _ in CASES)


def test_a_language_that_nobody_can_tell_passes() -> None:
    assert follows("language:response_language", "1234", {"language": "de"}, lambda text: None)
    assert follows("change_case:english_capital", "ABC 1", {}, lambda text: None)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith met Mr. J. Brown at 3.50 p.m. yesterday.", 1),
        ('She said "No." Then she left', 2),
        ("Wait... what?! Yes.", 3),
        ("no end", 1),
        ("Done.\n", 1),
        ("...", 1),
    ],
)
def test_sentences_end_where_no_abbreviation_does(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_loose_scoring_forgives_an_opening_a_closing_and_asterisks() -> None:
    strict, loose = follow_all(["startend:quotation", "punctuation:no_comma"], [{}, {}], 'Sure, here it is:\n"text"', detect)
    assert (strict, loose) == ([False, False], [True, True])
    assert len(list(variants("a\nb\nc"))) == 8 and "b" in variants("a\nb\nc") and "x" in variants("*x*")


def test_an_unknown_kind_or_a_missing_argument_is_an_error() -> None:
    with pytest.raises(KeyError):
        follows("keywords:rhyme", "x", {}, detect)
    with pytest.raises(KeyError):
        follows("keywords:existence", "x", {}, detect)


@pytest.fixture
def fresh_punkt() -> Iterator[None]:
    punkt.cache_clear()
    yield
    punkt.cache_clear()


@pytest.mark.usefixtures("fresh_punkt")
def test_sentences_are_split_by_punkt_where_its_data_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class PunktTokenizer:
        def __init__(self, language: str) -> None:
            assert language == "english"

        def tokenize(self, text: str) -> list[str]:
            return text.split("|")

    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", SimpleNamespace(PunktTokenizer=PunktTokenizer))
    assert count_sentences("a|b|c") == 3


@pytest.mark.usefixtures("fresh_punkt")
def test_without_punkt_s_data_sentences_are_split_by_punctuation(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_data(language: str) -> None:
        raise LookupError("Resource punkt_tab not found")

    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", SimpleNamespace(PunktTokenizer=no_data))
    assert count_sentences("One. Two.") == 2
