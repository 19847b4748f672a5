"""Parsing is strict and total: never an exception, never half an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.parsing import (
    Marks,
    Parsed,
    Proposal,
    Rejection,
    cut_reasoning,
    extract_tag,
    parse_answer,
    parse_better,
    parse_evaluation,
    parse_marks,
    parse_proposal,
    parse_rubric,
)
from pop_selfplay.method.rubric_json import MAX_JSON_CHARACTERS
from pop_selfplay.records import Criterion
from pop_selfplay.text.fencing import valid_unicode

CRITERIA = (
    Criterion(name="dose", description="states the dose", weight=3, gold="two drops"),
    Criterion(name="risk", description="names the risk", weight=1, gold="dizziness"),
)
PIECES = (
    "<answer> </answer> <problem> </problem> <rubric> </rubric> <evaluation> </evaluation> <think> </think> ... ``` { } [ ] , "
    ': NaN 1e999 "name" "weight" "gold" "description" "rating" "criterion_1" dose 2 -1 null " ```json'
).split()
TAGS = st.sampled_from([*PIECES, "\ud800", "\x00", "\n", " "])
SOUP = st.lists(st.one_of(TAGS, st.text(max_size=20)), max_size=40).map("".join)


def rubric_of(*criteria: dict[str, Any]) -> str:
    return f"<rubric>{json.dumps({f'criterion_{n}': c for n, c in enumerate(criteria, 1)})}</rubric>"


def criterion(**changes: Any) -> dict[str, Any]:
    return {"name": "dose", "description": "states the dose", "weight": 3, "gold": "two drops"} | changes


def reason_of(parsed: Any) -> str:
    assert isinstance(parsed, Rejection), parsed
    return parsed.reason


@given(SOUP)
def test_no_text_makes_any_parser_raise(text: str) -> None:
    outcomes = [parse(text) for parse in (parse_proposal, parse_answer, parse_rubric, parse_better, parse_marks)]
    for outcome in (*outcomes, parse_evaluation(text, CRITERIA), parse_evaluation(text, CRITERIA, bare=True)):
        assert isinstance(outcome, Parsed) or outcome.reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=8), x),
    )
)
def test_any_json_is_parsed_or_refused_with_a_reason(data: Any) -> None:
    for tag, parse in (("rubric", parse_rubric), ("evaluation", lambda text: parse_evaluation(text, CRITERIA))):
        outcome = parse(f"<{tag}>{json.dumps(data)}</{tag}>")
        assert isinstance(outcome, Parsed) or outcome.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no tags at all", "no_tag"),
        ("<answer>never closed", "unclosed_tag"),
        ("</answer> before <answer>", "unclosed_tag"),
        ("<answer>one</answer><answer>two</answer>", "repeated_tag"),
        ("<answer>one</answer></answer>", "repeated_tag"),
        ("<answer> \n </answer>", "empty_tag"),
        ("<answer>...</answer>", "placeholder"),
        ("<answer>....</answer>", "placeholder"),
        ("<answer>\u200b\u2060\ufeff</answer>", "empty_tag"),
        ("<answer>\u2800\u2800</answer>", "empty_tag"),
        ("<answer>\u200b[ … ]</answer>", "placeholder"),
        ("<think>still thinking <answer>x</answer>", "unclosed_reasoning"),
    ],
)
def test_an_answer_that_is_not_exactly_one_filled_tag_is_refused(text: str, reason: str) -> None:
    assert reason_of(parse_answer(text)) == reason


def test_reasoning_is_cut_up_to_its_last_end() -> None:
    text = "<think><answer>draft</answer></think> hm </think><answer>final</answer>"
    assert parse_answer(text) == Parsed("final")
    assert cut_reasoning("plain") == "plain"


def test_a_proposal_needs_both_tags_once() -> None:
    parsed = parse_proposal("Sure.\n<problem>What?</problem>\n<answer>That.</answer>")
    assert parsed == Parsed(("What?", "That."))
    assert reason_of(parse_proposal("<problem>What?</problem>")) == "no_tag"
    assert reason_of(parse_proposal("<problem>...</problem><answer>That.</answer>")) == "placeholder"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"criterion_1": criterion(), "criterion_2": criterion(name="risk")}),
        json.dumps([criterion(), criterion(name="risk")]),
        json.dumps({"criteria": [criterion(), criterion(name="risk")]}),
        "```json\n" + json.dumps([criterion(), criterion(name="risk")]) + "\n```",
    ],
)
def test_every_accepted_shape_of_a_rubric_gives_the_same_criteria(body: str) -> None:
    parsed = parse_rubric(f"Thinking.\n<rubric>\n{body}\n</rubric>")
    assert isinstance(parsed, Parsed) and not parsed.repaired
    assert [(c.name, c.weight, c.gold) for c in parsed.value.criteria] == [("dose", 3, "two drops"), ("risk", 3, "two drops")]


def test_broken_json_is_mended_once_and_the_mending_is_recorded() -> None:
    body = json.dumps([criterion()])[:-1] + ",]"
    parsed = parse_rubric(f"<rubric>{body}</rubric>")
    assert isinstance(parsed, Parsed) and parsed.repaired


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        ([], "no_criteria"),
        ([criterion(name=f"c{n}") for n in range(6)], "too_many_criteria"),
        ([criterion(), criterion(name=" DOSE ")], "duplicate_name"),
        ([criterion(weight=0)], "bad_weight"),
        ([criterion(weight=-1)], "bad_weight"),
        ([criterion(weight=float("nan"))], "bad_weight"),
        ([criterion(weight=float("inf"))], "bad_weight"),
        ([criterion(weight=10**400)], "bad_weight"),
        ([criterion(weight="three")], "bad_weight"),
        ([criterion(weight="50%")], "bad_weight"),
        ([criterion(gold=float("nan"))], "wrong_type"),
        ([criterion(gold="NaN")], "wrong_type"),
        ([criterion(name="\u200b")], "wrong_type"),
        ([criterion(name="\u2800")], "wrong_type"),
        ([criterion(name="...")], "wrong_type"),
        ([criterion(gold="[…]")], "wrong_type"),
        ([criterion(), criterion(name="do\u200bse")], "duplicate_name"),
        ([criterion(weight=True)], "bad_weight"),
        ([criterion(name=7)], "wrong_type"),
        ([{"name": "dose", "weight": 1, "gold": ""}], "missing_key"),
    ],
)
def test_a_rubric_that_breaks_a_rule_is_refused(criteria: list[dict[str, Any]], reason: str) -> None:
    assert reason_of(parse_rubric(rubric_of(*criteria))) == reason


def test_a_key_that_appears_twice_is_refused_and_not_overwritten() -> None:
    one = json.dumps(criterion())
    assert reason_of(parse_rubric(f'<rubric>{{"criterion_1": {one}, "criterion_1": {one}}}</rubric>')) == "duplicate_name"


def test_a_megabyte_of_json_is_refused_at_once() -> None:
    assert reason_of(parse_rubric("<rubric>" + "[" * (MAX_JSON_CHARACTERS + 1) + "</rubric>")) == "too_long"
    assert reason_of(parse_answer("x" * 2**20)) == "no_tag"
    assert isinstance(extract_tag("<answer>" + "y" * 2**20 + "</answer>", "answer"), str)


@pytest.mark.parametrize(
    "evaluation",
    [
        {"criterion_1": {"name": "dose", "thoughts": "t", "rating": 2}, "criterion_2": {"name": "Risk ", "rating": 0}},
        {"criterion_1": {"rating": 2}, "criterion_2": {"rating": 0}},
        {"dose": {"rating": 2.0}, "risk": {"rating": 0}},
        [{"name": "risk", "rating": 0}, {"name": "dose", "rating": 2}],
    ],
)
def test_ratings_come_in_the_order_of_the_criteria(evaluation: Any) -> None:
    parsed = parse_evaluation(f"<evaluation>{json.dumps(evaluation)}</evaluation>", CRITERIA)
    assert isinstance(parsed, Parsed)
    assert [(r.criterion, r.rating) for r in parsed.value] == [("dose", 2), ("risk", 0)]


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        ([{"name": "dose", "rating": 2}], "missing_rating"),
        ([{"name": "dose", "rating": 2}, {"name": "taste", "rating": 2}], "unknown_criterion"),
        ([{"name": "dose", "rating": 2}, {"name": "dose", "rating": 0}], "duplicate_rating"),
        ([{"name": "dose", "rating": 3}, {"name": "risk", "rating": 0}], "bad_rating"),
        ([{"name": "dose", "rating": 0.5}, {"name": "risk", "rating": 0}], "bad_rating"),
        ([{"name": "dose", "rating": "2/2"}, {"name": "risk", "rating": 0}], "bad_rating"),
        ([{"name": "dose", "rating": None}, {"name": "risk", "rating": 0}], "bad_rating"),
        ([{"name": "dose"}, {"name": "risk", "rating": 0}], "missing_key"),
        ("good", "wrong_shape"),
        ([2, 0], "wrong_shape"),
    ],
)
def test_half_an_evaluation_is_no_evaluation(evaluation: Any, reason: str) -> None:
    assert reason_of(parse_evaluation(f"<evaluation>{json.dumps(evaluation)}</evaluation>", CRITERIA)) == reason


@given(st.text(st.characters(), max_size=50))
def test_any_text_becomes_storable(text: str) -> None:
    valid_unicode(text + "\ud800").encode("utf-8")


def test_escaped_surrogates_inside_json_become_storable() -> None:
    parsed = parse_rubric('<rubric>[{"name":"\\ud800","description":"d","weight":1,"gold":"\\udfff"}]</rubric>')
    assert isinstance(parsed, Parsed)
    parsed.value.model_dump_json()


MORE_VERDICTS = [
    "is A.",
    "Answer: A",
    "Answer: **A**",
    "Assistant A",
    r"\boxed{A}",
    r"\boxed{\text{A}}",
    "Better answer: A",
    "Verdict: A",
]


def test_a_comparison_names_one_answer_and_nothing_else() -> None:
    assert parse_better("B is worse.\n<better_answer> A </better_answer>") == Parsed("A")
    assert parse_better("<think><better_answer>A</better_answer></think><better_answer>B</better_answer>") == Parsed("B")
    for verdict, reason in {"C": "bad_verdict", "A or B": "bad_verdict", "A > B": "bad_verdict", "": "empty_tag"}.items():
        assert reason_of(parse_better(f"<better_answer>{verdict}</better_answer>")) == reason
    assert reason_of(parse_better("<better_answer>A</better_answer><better_answer>B</better_answer>")) == "repeated_tag"


@pytest.mark.parametrize("verdict", ["a", "A.", "**A**", "(A)", "Answer A", "answer_a", "Ａ", "“A”", "A\u200b", *MORE_VERDICTS])
def test_a_verdict_that_leaves_no_doubt_is_read_and_told_as_repaired(verdict: str) -> None:
    assert parse_better(f"<better_answer>{verdict}</better_answer>") == Parsed("A", repaired=True)


@pytest.mark.parametrize(
    "said",
    [
        "A keeps the dose.\n\nTherefore, the better answer is A.",
        "Letter of the better answer: A",
        "B leaves it out.\n**Better answer:** Answer A\n\n",
        "better_answer: A",
    ],
)
def test_a_verdict_in_the_last_line_is_read_where_the_judge_ended_by_itself(said: str) -> None:
    assert parse_better(said) == Parsed("A", repaired=True, open_ended=True)


@pytest.mark.parametrize(
    "said",
    [
        "Therefore, the better answer is A because it is longer.",
        "The better answer is A.\nBut B is shorter.",
        "The better answer is B.\nHm.\nThe better answer is A.",
        "Which of them is the better answer is hard to say.",
        "B is not the better answer: A",
        "I put it in <better_answer> tags.\nThe better answer is A.",
        "the better answer is",
    ],
)
def test_a_verdict_in_a_line_that_leaves_doubt_is_none(said: str) -> None:
    assert reason_of(parse_better(said)) in ("no_tag", "unclosed_tag", "bad_verdict")


def test_a_problem_that_holds_the_tag_of_its_answer_gives_it_away() -> None:
    assert reason_of(parse_proposal("<problem>What? <answer>That.</answer></problem>")) == "nested_tag"


def test_marks_are_plain_numbers_from_0_to_10() -> None:
    assert parse_marks("<rating_A>10</rating_A>\n<rating_B>7.5</rating_B>") == Parsed(Marks(10, 7.5))
    for mark in ("7/10", "7 out of 10", "**7**", "7."):
        assert parse_marks(f"<rating_A>3</rating_A><rating_B>{mark}</rating_B>") == Parsed(Marks(3, 7), repaired=True)
    for mark in ("11", "-1", "−1", "<7", "~7", "7-8", "70%", "7/100", "7/5", "7,5", "1e1", "nan", "ten"):
        assert reason_of(parse_marks(f"<rating_A>3</rating_A><rating_B>{mark}</rating_B>")) == "bad_rating"
    assert reason_of(parse_marks("<rating_A>3</rating_A>")) == "no_tag"


@pytest.mark.parametrize(
    "said",
    [
        "Rating_A: 8\nRating_B: 6",
        "A names the dose, B does not.\n\n**Rating_A:** 8\n\n**Rating_B:** 6\n",
        "A names it.\n- rating A = 8/10\n- rating B = 6 out of 10",
        "Rating_A is 8.\nRating_B is 6.",
        "<think>Rating_A: 1\nRating_B: 9</think>\nRATING_A: 8\nRATING_B: 6",
    ],
)
def test_marks_in_two_last_lines_are_read_where_the_judge_ended_by_itself(said: str) -> None:
    assert parse_marks(said) == Parsed(Marks(8, 6), repaired=True, open_ended=True)


@pytest.mark.parametrize(
    "said",
    [
        "Rating_A: 8",
        "Rating_B: 6\nRating_A: 8",  # in another order than asked for
        "Rating_A: 8\nRating_B: 6\nThat is what they earn.",
        "Rating_A: 8\nRating_B: 6\nRating_A: 5\nRating_B: 6",
        "Rating_A: 8\nThey differ.\nRating_B: 6",
        "Rating_AB: 8\nRating_B: 6",
        "A's rating_A: 8\nB's rating_B: 6",
        "between <rating_A> and </rating_A>\nRating_A: 8\nRating_B: 6",
    ],
)
def test_marks_in_lines_that_leave_doubt_are_none(said: str) -> None:
    assert reason_of(parse_marks(said)) in ("no_tag", "repeated_tag", "bad_rating")


def test_marks_in_lines_are_plain_numbers_too() -> None:
    assert reason_of(parse_marks("Rating_A: 8\nRating_B: 11")) == "bad_rating"
    assert reason_of(parse_marks("Rating_A: 8 or 9\nRating_B: 6")) == "bad_rating"
    assert reason_of(parse_marks("Rating_A: 8\nRating_B: ...")) == "placeholder"
    long = "Rating_A: " * 30_000
    assert reason_of(parse_marks(f"{long}\nRating_B: 6")) in ("no_tag", "bad_rating")


def test_bare_json_parses_where_it_is_asked_for() -> None:
    body = json.dumps({"thoughts": "t", "criteria": [criterion()]})
    assert isinstance(parse_rubric(body, bare=True), Parsed)
    assert isinstance(parse_rubric("<think>hm</think>" + body, bare=True), Parsed)
    ratings = json.dumps({f"criterion_{n}": {"name": c.name, "thoughts": "", "rating": 2} for n, c in enumerate(CRITERIA, 1)})
    assert isinstance(parse_evaluation(ratings, CRITERIA, bare=True), Parsed)


def test_json_without_its_tag_is_read_where_nothing_else_can_be_meant() -> None:
    body = json.dumps([criterion()])
    for text in (
        body,
        f"```json\n{body}\n```",
        f"Candidate 1 is right.\n\n```\n{body}\n```\nDone.",
        f"<think>hm</think>\n{body}",
    ):
        found = parse_rubric(text)
        assert isinstance(found, Parsed) and found.repaired, text
        assert found.value.criteria[0].name == "dose"


def test_json_without_its_tag_is_not_looked_for_in_prose_or_among_several_blocks() -> None:
    body = json.dumps([criterion()])
    assert reason_of(parse_rubric(f"I would say {body}")) == "no_tag"
    assert reason_of(parse_rubric(f"```json\n{body}\n```\nor\n```json\n{body}\n```")) == "no_tag"
    assert reason_of(parse_rubric(f"```json\n{body}")) == "no_tag"
    assert reason_of(parse_rubric("```json\n[1, 2\n```")) == "no_tag"


def test_a_completion_that_is_nothing_but_reasoning_has_a_reason_of_its_own_that_names_the_parser_setting() -> None:
    found = parse_answer("<think>\nthe answer is <answer>moss</answer>\n</think>\n\n")
    assert isinstance(found, Rejection) and found.reason == "only_reasoning" and "--reasoning-parser" in found.detail


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert valid_unicode("a\ud83d") == "a\ufffd" and valid_unicode("\U0001f33f") == "\U0001f33f"


def test_a_problem_that_is_left_open_right_before_its_answer_is_read_and_told_as_repaired() -> None:
    found = parse_proposal("<problem>\nHow much?\n<answer>\nTwo drops.\n</answer>")
    assert found == Parsed(Proposal("How much?", "Two drops."), repaired=True)


@pytest.mark.parametrize(
    "text", ["<problem>How much? <answer>One</answer> <answer>Two</answer>", "<problem>\n<answer>Two</answer>", "<problem>How?"]
)
def test_a_problem_whose_end_is_in_doubt_is_refused(text: str) -> None:
    assert isinstance(parse_proposal(text), Rejection)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Two drops.", "Two drops."),
        ("<think>Hm.</think>\n\nTwo drops.\n", "Two drops."),
        ("So: <answer>Two drops.</answer>", "Two drops."),
    ],
)
def test_an_answer_that_needs_no_tag_is_all_that_follows_the_reasoning(text: str, answer: str) -> None:
    assert parse_answer(text, tagged=False) == Parsed(answer, open_ended="<answer>" not in text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("...", "placeholder"), (" \n", "empty_tag"), ("<think>Hm.", "unclosed_reasoning"), ("<answer>Two", "unclosed_tag")],
)
def test_an_answer_without_a_tag_is_still_one(text: str, reason: str) -> None:
    found = parse_answer(text, tagged=False)
    assert isinstance(found, Rejection) and found.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "It is 2 + 2. So the answer is \\boxed{4}.",
        "<think>Hm.</think>Thus\n\\[\n\\boxed{\\text{copper}}\n\\]\n",
        "\\fbox{4} $",
        "Hence \\boxed{5} \\text{ cm}.",
        "\\begin{align*}x &= \\boxed{5}\n\\end{align*}",
        "Final Answer: The final answer is $\\boxed{5}$. I hope it is correct.",
        "The numbers are \\boxed{\\left\\{1, 2\\right.}.",
    ],
)
def test_an_answer_to_be_boxed_may_end_with_its_box_instead_of_standing_in_a_tag(text: str) -> None:
    assert parse_answer(text, boxed=True) == Parsed(
        text.removeprefix("<think>Hm.</think>").strip(), repaired=True, open_ended=True
    )
    assert isinstance(parse_answer(text), Rejection)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{4}, if I am right.",
        "\\boxed{}",
        "\\boxed{...}",
        "\\boxed{4",
        "So 4.",
        "<answer>\\boxed{4}",
        "<answer>4</answer> <answer>\\boxed{4}",
    ],
)
def test_a_box_that_is_not_the_end_is_no_answer(text: str) -> None:
    assert isinstance(parse_answer(text, boxed=True), Rejection)


def test_a_closing_tag_without_an_opening_one_is_no_part_of_the_answer() -> None:
    assert parse_answer("Two drops.\n</answer>", tagged=False) == Parsed("Two drops.", open_ended=True)
    assert parse_answer("So \\boxed{4}\n</answer>", boxed=True) == Parsed("So \\boxed{4}", repaired=True, open_ended=True)
    assert isinstance(parse_answer("Two drops.\n</answer>"), Rejection)


def test_what_stands_in_the_tag_is_the_answer_whatever_box_comes_before() -> None:
    assert parse_answer("First \\boxed{3}. <answer>\\boxed{4}</answer>", boxed=True) == Parsed("\\boxed{4}")
