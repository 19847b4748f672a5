"""Expected ratings: the mean of the judge's own distribution, or a rejection; never a guess from half of it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.expected_rating import compact, expected_rating, parse_last_rating, parse_ratings, rating_in
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.records import Completion, Criterion, Token

CRITERIA = [Criterion(name=name, description="d", weight=1, gold="g") for name in ("dose", "effect", "season")]
SHARES = st.lists(st.floats(0.001, 1), min_size=3, max_size=3)


def sure(text: str) -> Token:
    return Token(text, ((text, 0.0),))


def torn(said: str, *shares: float) -> Token:
    """A rating token with these probabilities of 0, 1 and 2."""
    return Token(said, tuple((str(r), math.log(share)) for r, share in enumerate(shares) if share > 0))


def completion(*tokens: Token) -> Completion:
    return Completion("".join(token.text for token in tokens), "stop", 1, len(tokens), 0, tokens)


def rated(*ratings: Token) -> Completion:
    """Return {"1": …, "2": …} as most tokenizers cut it."""
    tokens = [sure('{"')]
    for number, rating in enumerate(ratings, 1):
        tokens += [sure(str(number)), sure('":'), sure(" "), rating, sure(","), sure(' "')]
    return completion(*tokens[:-2], sure("}"))


def reason(parsed: object) -> str:
    assert isinstance(parsed, Rejection), parsed
    return parsed.reason


@given(SHARES)
def test_the_rating_is_the_mean_of_the_scaled_distribution(shares: list[float]) -> None:
    total = sum(shares) * 1.25  # a fifth of the probability lies on other tokens
    token = torn("1", *(share / total for share in shares))
    expected = (shares[1] + 2 * shares[2]) / sum(shares)
    assert expected_rating(token.alternatives, 0.7) == pytest.approx(expected)
    assert reason(expected_rating(token.alternatives, 0.9)) == "low_mass"


@given(SHARES, st.integers(0, 2))
def test_moving_probability_to_a_higher_rating_never_lowers_it(shares: list[float], at: int) -> None:
    before = expected_rating(torn("1", *shares).alternatives, 0)
    moved = [share / 2 if r == at else share for r, share in enumerate(shares)]
    moved[2] += shares[at] / 2
    after = expected_rating(torn("1", *moved).alternatives, 0)
    assert not isinstance(before, Rejection) and not isinstance(after, Rejection)
    assert 0 <= before <= after + 1e-9 <= 2 + 1e-9


def test_no_rating_among_the_alternatives_is_a_rejection_even_without_a_floor() -> None:
    assert reason(expected_rating([("good", -0.1)], 0)) == "low_mass"
    assert reason(expected_rating([], 0)) == "low_mass"
    assert expected_rating([("2", 1e-7), (" 2", -9999.0)], 1) == 2  # a server's rounding above 0 is no more than certainty


@pytest.mark.parametrize(("text", "rating"), [("2", 2), (" 1", 1), ("0,", 0), (":2}", 2), ('"1"', 1)])
def test_what_a_tokenizer_glues_to_a_rating_changes_nothing(text: str, rating: int) -> None:
    assert rating_in(text) == rating


@pytest.mark.parametrize("text", ["3", "12", "2.5", "-1", "two", "", " ", "1e0", "²"])
def test_what_is_not_just_a_rating_is_none(text: str) -> None:
    assert rating_in(text) is None


@given(st.lists(SHARES, min_size=1, max_size=3))
def test_each_criterion_gets_the_rating_of_its_number(shares: list[list[float]]) -> None:
    tokens = [torn(str(n % 3), *(s / sum(each) for s in each)) for n, each in enumerate(shares)]
    parsed = parse_ratings(rated(*tokens), CRITERIA[: len(shares)], 0.5)
    assert isinstance(parsed, Parsed)
    assert [r.criterion for r in parsed.value] == [c.name for c in CRITERIA[: len(shares)]]
    assert [r.rating for r in parsed.value] == pytest.approx([(each[1] + 2 * each[2]) / sum(each) for each in shares])


def test_numbers_may_come_in_any_order_and_be_called_by_the_rubric_s_keys() -> None:
    tokens = [
        sure("```json\n{"),
        sure('"criterion_2": '),
        torn("2", 0, 0, 1),
        sure(', "1" :'),
        torn(" 0", 1, 0, 0),
        sure(" }\n```"),
    ]
    parsed = parse_ratings(completion(*tokens), CRITERIA[:2], 0.5)
    assert isinstance(parsed, Parsed) and [r.rating for r in parsed.value] == [0, 2]


def test_the_closing_brace_may_be_cut_off_where_it_stopped_the_generation() -> None:
    whole = rated(torn("1", 0, 1, 0))
    assert isinstance(parse_ratings(completion(*whole.tokens[:-1]), CRITERIA[:1], 0.5), Parsed)


def test_reasoning_is_cut_before_anything_is_read() -> None:
    thinking = [sure('<think>{"1": '), torn("0", 1, 0, 0), sure("}</think>")]
    parsed = parse_ratings(completion(*thinking, *rated(torn("2", 0, 0, 1)).tokens), CRITERIA[:1], 0.5)
    assert isinstance(parsed, Parsed) and parsed.value[0].rating == 2
    assert reason(parse_ratings(completion(*thinking[:2]), CRITERIA[:1], 0.5)) == "unclosed_reasoning"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no_probabilities"),
        ("It is good.", "bad_json"),
        ('{"1": 2', "missing_rating"),
        ('{"1": 2, "2": 1, "2": 1}', "duplicate_rating"),
        ('{"1": 2, "criterion_1": 2, "2": 1}', "duplicate_rating"),
        ('{"1": 2, "3": 1}', "unknown_criterion"),
        ('{"dose": 2, "effect": 1}', "unknown_criterion"),
        ('{"1": 2, "2": 3}', "bad_rating"),
        ('{"1": 2, "2": "1"}', "bad_rating"),
        ('{"1": 2, "2": true}', "bad_rating"),
        ('{"1": 2, "2": 1.0}', "bad_rating"),
        ('{"1": {"rating": 2}, "2": 1}', "bad_json"),
        ('{"1": 2, "2": [1]}', "bad_rating"),
        ('{"1": 2, "2": -0}', "bad_json"),
        ('{"\\u0031": 2, "2": 0}', "bad_json"),
        ('{"1": 2; "2": 1}', "bad_json"),
        ('{"1": 2, "2": 1' + " " * 5000 + "}", "too_long"),
    ],
)
def test_anything_but_one_rating_for_each_criterion_is_rejected(text: str, why: str) -> None:
    tokens = [Token(c, ((c, 0.0),)) for c in text]
    assert reason(parse_ratings(completion(*tokens), CRITERIA[:2], 0.5)) == why


def test_a_rating_inside_a_longer_token_has_no_distribution() -> None:
    assert reason(parse_ratings(completion(sure('{"1": 2}')), CRITERIA[:1], 0.5)) == "no_rating_token"


@given(st.text('{}":,0123 criteron_-.\\u<>/think\n', max_size=40), st.integers(1, 3))
def test_no_text_raises(text: str, size: int) -> None:
    tokens = [Token(text[i : i + size], ((text[i : i + size], 0.0),)) for i in range(0, len(text), size)]
    for parsed in (
        parse_ratings(completion(*tokens), CRITERIA, 0.5),
        parse_last_rating(completion(*tokens), CRITERIA[0], "<evaluation>", 0.5),
    ):
        assert isinstance(parsed, (Parsed, Rejection))


@given(st.permutations(["1", "2", "3"]), st.lists(st.sampled_from(["0", "1", "2"]), min_size=3, max_size=3), st.booleans())
def test_whatever_json_says_the_same_ratings_gives_them(order: list[str], said: list[str], wide: bool) -> None:
    pairs = dict(zip(order, map(int, said), strict=True))
    text = json.dumps(pairs, indent=2 if wide else None)
    parsed = parse_ratings(completion(*(sure(c) for c in text)), CRITERIA, 0.5)
    assert isinstance(parsed, Parsed) and [r.rating for r in parsed.value] == [pairs[str(n)] for n in (1, 2, 3)]


def test_the_one_rating_is_the_last_number_before_the_stop() -> None:
    scratch = [sure(" said 2 fever"), sure(" gold"), torn("1", 0.25, 0.5, 0.25), sure("<evaluation>"), sure("0")]
    parsed = parse_last_rating(completion(*scratch), CRITERIA[0], "<evaluation>", 0.5)
    assert isinstance(parsed, Parsed) and parsed.value[0].rating == 1
    assert parsed.value[0].criterion == "dose"


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ((), "no_probabilities"),
        ((sure("none"), sure("<evaluation>")), "missing_rating"),
        ((sure("1"), sure("0"), sure("<evaluation>")), "missing_rating"),
        ((sure("1."), sure("5")), "missing_rating"),
        ((sure("7"),), "bad_rating"),
        ((sure("fever2"),), "no_rating_token"),
        ((Token("2", (("2", -3.0), ("two", -0.1))),), "low_mass"),
    ],
)
def test_a_completion_that_ends_in_no_rating_is_rejected(tokens: tuple[Token, ...], why: str) -> None:
    assert reason(parse_last_rating(completion(*tokens), CRITERIA[0], "<evaluation>", 0.5)) == why


def test_compact_tokens_keep_all_that_a_rating_is_read_from_and_little_else() -> None:
    many = tuple((f"w{n}", -5.0) for n in range(20))
    whole = rated(Token("1", (("1", -0.123456), (" 2", -2.3), *many)), sure("0"))
    small = compact(whole.tokens)
    assert small == compact(small)
    assert max(len(token.alternatives) for token in small) == 2 and small[4].alternatives[0] == ("1", -0.1235)
    one = parse_ratings(whole, CRITERIA[:2], 0.5)
    two = parse_ratings(completion(*small), CRITERIA[:2], 0.5)
    assert isinstance(one, Parsed) and isinstance(two, Parsed)
    assert [r.rating for r in one.value] == pytest.approx([r.rating for r in two.value], abs=1e-3)
