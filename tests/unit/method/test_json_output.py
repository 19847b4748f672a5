"""Broken JSON is mended where it leaves no doubt; nothing in it is dropped, cut to size or overwritten."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pop_selfplay.method.json_output import UnreadableJSON, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def reason_of(body: str, *, closed: bool = True) -> str:
    with pytest.raises(UnreadableJSON) as caught:
        read_json(body, closed=closed)
    return caught.value.reason


@given(VALUES)
def test_sound_json_without_odd_keys_comes_back_as_it_is(value: Any) -> None:
    body = json.dumps({"value": value})
    try:
        data, repaired = read_json(body, closed=False)
    except UnreadableJSON as error:
        assert error.reason == "duplicate_name"  # two keys that look alike
        return
    if not repaired:
        assert data == {"value": value}


@example("{" * 500)
@example("[" * 60_000)
@example('{"a": "' + '"' * 5000)
@example('{"a": ' + "/*" * 20_000)
@given(st.lists(st.sampled_from([*"{}[]:,\"'“”\\/*n \n", "1", "true", "a", "u0041", '"a": ', "//"]), max_size=40).map("".join))
def test_every_text_is_read_or_refused_with_a_reason(body: str) -> None:
    for closed in (True, False):
        try:
            data, _ = read_json(body, closed=closed)
        except UnreadableJSON as error:
            assert error.reason in ("bad_json", "wrong_shape", "duplicate_name")
        else:
            json.dumps(data)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"States \theta = \frac{1}{2}", r"States \theta = \frac{1}{2}"),
        (r"\beta, \bar{x}, \begin{pmatrix} \forall \bf", r"\beta, \bar{x}, \begin{pmatrix} \forall \bf"),
        (r"\nu \nabla \neq \notin", r"\nu \nabla \neq \notin"),
        (r"\rho \rightarrow \rangle \right)", r"\rho \rightarrow \rangle \right)"),
        (r"\text{cm} \times \tau \tan \tfrac", r"\text{cm} \times \tau \tan \tfrac"),
        (r"\sqrt{2} \alpha \(x\) \underline{u} \u", r"\sqrt{2} \alpha \(x\) \underline{u} \u"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"one\nTwo\ttabbed\r\n\u00e9 \ud83c\udf3f \"q\" \/", 'one\nTwo\ttabbed\r\né 🌿 "q" /'),
        (r"first\nnote that\nand\rend\tit", "first\nnote that\nand\rend\tit"),
    ],
)
def test_latex_keeps_its_backslashes_and_escapes_keep_their_meaning(written: str, meant: str) -> None:
    assert read_json(f'{{"a": "{written}"}}', closed=True)[0] == {"a": meant}
    assert read_json(f'{{"a": "{written}",}}', closed=True)[0] == {"a": meant}, "in broken JSON, too"


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ('{"a": 1, "b": 2,}', {"a": 1, "b": 2}),
        ("{'a': 'it's', 'b': 'it\\'s'}", {"a": "it's", "b": "it's"}),
        ("{“a”: “x”, “b”: 1}", {"a": "x", "b": 1}),
        ('{"a": "says "foo", so", "b": 1}', {"a": 'says "foo", so', "b": 1}),
        ('{"a": "says "b": 0 there", "b": 1}', {"a": 'says "b": 0 there', "b": 1}),
        ('{"a": "one\ntwo", "b": 1}', {"a": "one\ntwo", "b": 1}),
        ('{"a": 2 // good\n, /* why */ "b": 1}', {"a": 2, "b": 1}),
        ('{a: "x", b: 1}', {"a": "x", "b": 1}),
        ('{"a": "x"\n "b": 1}', {"a": "x", "b": 1}),
        ('[{"a": 1}\n{"a": 2}]', [{"a": 1}, {"a": 2}]),
        ('\n{"a": 1},\n{"a": 2, "b": "x"}\n', [{"a": 1}, {"a": 2, "b": "x"}]),
        ('Here it is:\n```json\n{"a": True}\n```\nDone {well}.', {"a": True}),
        ('"a": {"b": 1}, "c": {"b": 2}', {"a": {"b": 1}, "c": {"b": 2}}),
        ('{"a": {"b": 1', {"a": {"b": 1}}),
    ],
)
def test_mistakes_that_leave_no_doubt_are_mended(body: str, meant: Any) -> None:
    assert read_json(body, closed=True) == (meant, True)


@pytest.mark.parametrize(
    "junk", ["−1", "–1", "<2", "~1", "2|1", "50%", "1 000", "1,000", "≥1", "$2", "2/2", "1 or 2", "2 (good)"]
)
def test_what_stands_for_a_number_and_is_none_comes_back_whole(junk: str) -> None:
    assert read_json(f'{{"a": {junk}, "b": 1}}', closed=True)[0] == {"a": junk, "b": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"a": 1, "a": 2}', "duplicate_name"),
        ('{"a": 1, "a": 2,}', "duplicate_name"),
        ('{"a": 1, "A\u200b": 2}', "duplicate_name"),
        ('{"x": {"rating": 2, "rating": 0,}}', "duplicate_name"),
        ('{"a": 2}\nWait:\n{"a": 0}', "wrong_shape"),
        ('{"a": 2}{"b": 0}', "wrong_shape"),
        ('{"a": 2}, {"b": 0, "b": 1}', "duplicate_name"),
        ('{"a": 2}, or rather {"a": 0}', "wrong_shape"),
        ('{"a": "x', "bad_json"),
        ('{"a": 1, and more}', "bad_json"),
        ("no object", "bad_json"),
        ("", "bad_json"),
    ],
)
def test_what_is_in_doubt_is_refused(body: str, reason: str) -> None:
    assert reason_of(body) == reason


def test_objects_without_brackets_are_a_list_only_where_something_shows_its_end() -> None:
    for items in ('{"a": 1}, {"a": 2}', '{"a": 1},\n{"a": 2},\n'):
        assert read_json(items, closed=True) == ([{"a": 1}, {"a": 2}], True)
        assert reason_of(items, closed=False) == "wrong_shape"


@given(st.integers(1, 40))
def test_json_that_broke_off_is_refused_where_nothing_else_shows_its_end(kept: int) -> None:
    body = '{"criteria": [{"name": "dose", "weight": 12}]}'
    assert reason_of(body[:kept], closed=False) == "bad_json"
