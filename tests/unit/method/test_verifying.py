"""Final answers are equal when they say the same, and nothing else makes them equal."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.answers import equal_answers, final_answer, same_final_answer

FAMILIES: dict[str, list[list[str]]] = json.loads(Path(__file__).with_name("answers.json").read_text(encoding="utf-8"))
"""Forms of one group say the same, groups of a family do not."""
LEFT_OUT = [
    ("5 cm", "5"),
    (r"864 \mbox{ inches}^2", "864"),
    (r"90^\circ", "90"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
    (r"\$18.90", "18.9"),
    (r"12\text{ ways}", "12"),
    (r"10\%", "10"),
    (r"10\%", "0.1"),
    ("x=5", "5"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("y = 2x + 3", "2x+3"),
    (r"\text{Area} = 12\pi", r"12\pi"),
]


def both_ways(one: str, other: str) -> set[bool]:
    return {equal_answers(one, other), equal_answers(other, one)}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_ways_to_write_the_same_answer_are_equal(family: str) -> None:
    pairs = [pair for group in FAMILIES[family] for pair in itertools.combinations(group, 2)]
    assert [pair for pair in pairs if both_ways(*pair) != {True}] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_different_answers_are_not_equal(family: str) -> None:
    groups = itertools.combinations(FAMILIES[family], 2)
    pairs = [pair for one, other in groups for pair in itertools.product(one, other)]
    assert [pair for pair in pairs if both_ways(*pair) != {False}] == []


@pytest.mark.parametrize(("whole", "short"), LEFT_OUT)
def test_a_unit_or_a_name_may_be_left_out_on_one_side(whole: str, short: str) -> None:
    assert both_ways(whole, short) == {True}


@pytest.mark.parametrize("nothing", ["", " ", "$$", r"\text{}", "."])
def test_an_answer_that_says_nothing_equals_nothing(nothing: str) -> None:
    assert both_ways(nothing, nothing) == {False} == both_ways(nothing, "0")


def test_the_table_holds_at_least_500_pairs_of_either_kind() -> None:
    groups = [group for family in FAMILIES.values() for group in family]
    assert sum(len(group) * (len(group) - 1) // 2 for group in groups) > 500
    assert sum(len(a) * len(b) for family in FAMILIES.values() for a, b in itertools.combinations(family, 2)) > 500


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{4}", "4"),
        (r"\boxed{1}, no, \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1}, or \fbox {3}", "3"),
        (r"\boxed{\frac{1}{2}", None),
        (r"\boxed{}", None),
        (r"\boxed{...}", None),
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


COMMANDS = (
    r"\{ \} \frac \sqrt \pi \pm \cup \infty \text{cm} \le \in \log \sin \binom \begin{pmatrix} \\ \end{pmatrix} \overline ° ½ ²"
)
MARKS = st.sampled_from([*"0123456789xyie+-*/^_=<>()[]{}|!,.%$& ", " or ", *COMMANDS.split()])


@given(st.lists(MARKS, max_size=12).map("".join), st.lists(MARKS, max_size=12).map("".join))
def test_any_mathematics_can_be_compared_and_both_ways_alike(one: str, other: str) -> None:
    assert len(both_ways(one, other)) == 1


@given(st.lists(MARKS, min_size=1, max_size=12).map("".join))
def test_an_answer_equals_itself_unless_it_says_nothing(answer: str) -> None:
    assert equal_answers(answer, answer) or not answer.strip(" .$(){}[]~\\")


BRACKETS = ["{" * 400, "(" * 290, r"\frac{" * 30, r"\text{" * 50, r"\sin" * 70, r"\sqrt" * 55, "-" * 290, "+".join("x" * 150)]
LARGE = [
    "9^{9^{9^{9}}}",
    "9^" * 140,
    "1" * 5000,
    "9!" * 90,
    "2004!!!",
    r"\binom{5000}{2500}^{5000}",
    "1,000" * 50,
    "e^{e^{e^{e^9}}}",
]


@pytest.mark.parametrize(
    "hostile", [*BRACKETS, *LARGE, "\ud800^2", "%(1)s\\", "$", "-$", r"\sqrt", "=5", "(", "(,)", "5 cm cm"]
)
def test_a_hostile_answer_is_unequal_in_bounded_time(hostile: str) -> None:
    assert not equal_answers(hostile, "1")
    assert isinstance(equal_answers(hostile, f"{hostile}+0"), bool)
