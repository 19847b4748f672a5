"""Each kind of instruction is followed by what follows it and by nothing else; loose scoring forgives what it says."""

from typing import Any

import pytest

from pop_selfplay.evaluation.benchmarks.instruction_checks import CHECKS, follow_all, follows, variants

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


def test_loose_scoring_forgives_an_opening_a_closing_and_asterisks() -> None:
    strict, loose = follow_all(["startend:quotation", "punctuation:no_comma"], [{}, {}], 'Sure, here it is:\n"text"', detect)
    assert (strict, loose) == ([False, False], [True, True])
    assert len(list(variants("a\nb\nc"))) == 8 and "b" in variants("a\nb\nc") and "x" in variants("*x*")


def test_an_unknown_kind_or_a_missing_argument_is_an_error() -> None:
    with pytest.raises(KeyError):
        follows("keywords:rhyme", "x", {}, detect)
    with pytest.raises(KeyError):
        follows("keywords:existence", "x", {}, detect)
