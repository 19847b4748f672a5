"""What counts of a completion: exactly one filled tag, behind the reasoning; what only names a tag is no use of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.parsing import Parsed, Rejection, parse_answer, parse_evaluation, parse_rubric
from pop_selfplay.method.tags import cut_reasoning, find_tag
from pop_selfplay.records import Criterion

DOSE = (Criterion(name="dose", description="states the dose", weight=3, gold="two drops"),)
RATED = '<evaluation>{"criterion_1": {"name": "dose", "thoughts": "%s", "rating": 2}}</evaluation>'


@pytest.mark.parametrize(
    "text",
    [
        "<ANSWER>two drops</ANSWER>",
        "<Answer>two drops</answer>",
        "< answer >two drops</ answer>",
        "I will put it in the <answer> tag.\n<answer>two drops</answer>",
        "It goes between <answer> and </answer>.\n<answer>two drops</answer>",
        "It goes in `<answer>`. <answer>two drops</answer>",
        "It goes in <answer></answer> tags: <answer>two drops</answer>",
        "The form is <answer>...</answer>.\n<answer>two drops</answer>",
        "First comes <answer>, then nothing.\n<answer>two drops</answer>",
        "<answer>two drops</answer>\nI have used the <answer> tag.",
        "<answer>two drops</answer>\nThat was “</answer>”.",
    ],
)
def test_a_tag_in_another_form_or_named_beside_its_use_is_read_and_told_as_repaired(text: str) -> None:
    assert find_tag(text, "answer") == Parsed("two drops", repaired=True)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>one <answer>two</answer>",
        "<answer>one</answer> or <answer>two</answer>",
        "<answer>one</answer> or <ANSWER>two</ANSWER>",
        "<answer>one</answer> two</answer>",
        "<answer>one\n<answer>two</answer>",
    ],
)
def test_two_uses_of_a_tag_are_in_doubt_and_refused(text: str) -> None:
    found = find_tag(text, "answer")
    assert isinstance(found, Rejection) and found.reason == "repeated_tag"


@pytest.mark.parametrize(
    "text",
    [
        "<think>I must write `</think>` first.</think><answer>two</answer>",
        '<think>The mark "</think>" ends it. Draft: <answer>one</answer></think><answer>two</answer>',
        "[THINK]<answer>one</answer>[/THINK]<answer>two</answer>",
        "<THINK><answer>one</answer></THINK><answer>two</answer>",
        "<thinking><answer>one</answer></thinking><answer>two</answer>",
        "draft <answer>one</answer> no.\n</think>\n<answer>two</answer>",
    ],
)
def test_the_answer_is_the_one_behind_the_reasoning(text: str) -> None:
    assert parse_answer(text) == Parsed("two")


def test_a_mark_quoted_in_the_answer_itself_does_not_cut_it() -> None:
    assert parse_answer("<think>a</think><answer>Write </think> last.</answer>") == Parsed("Write </think> last.")
    assert parse_answer("<answer>Write `</think>` last.</answer>") == Parsed("Write `</think>` last.")


@pytest.mark.parametrize("thoughts", ["the candidate wrote </think> twice", "it ends with '</think>'", r"it says \"</think>\""])
def test_a_mark_quoted_in_the_thoughts_of_a_judge_does_not_cut_them(thoughts: str) -> None:
    for before in ("", "<think>hm</think>", "I think.\n"):
        assert isinstance(parse_evaluation(before + RATED % thoughts, DOSE), Parsed)
    bare = (RATED % thoughts).removeprefix("<evaluation>").removesuffix("</evaluation>")
    for before in ("", "<think>hm</think>\n"):
        assert isinstance(parse_evaluation(before + bare, DOSE, bare=True), Parsed)


@pytest.mark.parametrize(
    "text",
    [
        "<think>draft: <answer>one</answer>",
        "<think>the tag `</think>` must come, then <answer>one</answer>",
        "[THINK]draft: <answer>one</answer>",
        "<thinking>draft: <answer>one</answer>",
        "◁think▷draft: <answer>one</answer>",
    ],
)
def test_a_draft_in_reasoning_without_an_end_is_no_answer(text: str) -> None:
    found = parse_answer(text)
    assert isinstance(found, Rejection) and found.reason == "unclosed_reasoning"


def test_reasoning_that_ends_or_begins_within_the_tag_leaves_no_half_answer() -> None:
    for text in ("<think>so <answer>one</think>two</answer>", "<think>a</think><answer>one<think>no</think>two</answer>"):
        assert isinstance(parse_answer(text), Rejection)


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "<think>", "</think>", "`", " ", "\n", "x", "y", ". "]), max_size=14))
def test_no_answer_ever_holds_a_part_of_the_reasoning_or_less_than_its_tag(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = parse_answer(text)
    if isinstance(found, Parsed):
        assert found.value and f"{found.value}" in text
        assert not isinstance(cut_reasoning(text, "answer"), Rejection)


def test_a_rubric_in_capitals_is_read() -> None:
    body = '{"criterion_1": {"name": "dose", "description": "d", "weight": 1, "gold": "g"}}'
    for text in (f"<RUBRIC>{body}</RUBRIC>", f"First a <rubric> tag, as asked.\n<rubric>{body}</rubric>"):
        parsed = parse_rubric(text)
        assert isinstance(parsed, Parsed) and parsed.repaired
