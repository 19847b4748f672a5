"""Final answers are equal when they say the same, and nothing else makes them equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.answers import equal_answers, final_answer, same_final_answer

SAME = [
    ("1/2", "0.5"),
    (r"\frac{1}{2}", "0.50"),
    (r"\dfrac{6}{4}", "1.5"),
    ("1,000", "1000"),
    ("−3", "-3"),
    ("Paris.", r"\text{paris}"),
    ("(B)", "b"),
    (r"\mathrm{B}", "B"),
    ("x+1", "1+x"),
    (r"3\sqrt{2}", r"\sqrt{18}"),
    (r"2\,\text{cm}", r"2 \text{ cm}"),
    ("10^{10}", "10000000000"),
]
DIFFERENT = [
    ("A", "B"),
    ("Paris", "London"),
    ("elbow", "below"),
    ("heart attack", "attack heart"),
    ("1/3", "0.333"),
    ("12", "21"),
    ("x+1", "x+2"),
    ("[1,2)", "(1,2)"),
    ("", ""),
    ("1/0", "1"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_ways_to_write_the_same_answer_are_equal(one: str, other: str) -> None:
    assert equal_answers(one, other) and equal_answers(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_answers_are_not_equal(one: str, other: str) -> None:
    assert not equal_answers(one, other) and not equal_answers(other, one)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{4}", "4"),
        (r"\boxed{1}, no, \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\frac{1}{2}", None),
        ("four", None),
    ],
)
def test_the_final_answer_is_the_last_whole_box(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_without_a_box_on_both_sides_nothing_is_verified() -> None:
    assert same_final_answer(r"\boxed{4}", r"Hence \boxed{4}")
    assert not same_final_answer("4", r"\boxed{4}") and not same_final_answer(r"\boxed{4}", "4")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_the_reading_of_a_box_raise(one: str, other: str) -> None:
    assert final_answer(rf"\boxed{{{one}") in (None, final_answer(rf"\boxed{{{one}"))
    assert isinstance(same_final_answer(one, other), bool)


@pytest.mark.parametrize(
    "hostile", ["{" * 400, r"\frac{" * 30, "9^{9^{9^{9}}}", "1" * 5000, r"\text{" * 50, "\ud800^2", "%(1)s\\"]
)
def test_a_hostile_answer_is_unequal_in_bounded_time(hostile: str) -> None:
    assert not equal_answers(hostile, "1")
