"""Replies as servers really write them."""

import json
from typing import Any

import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.models.base import Completion
from pop_selfplay.models.endpoint.reply import Unreadable, count, read_reply

STOP = "</answer>"


def body(*choices: dict[str, Any], **rest: Any) -> bytes:
    return json.dumps({"choices": list(choices), **rest}).encode()


def choice(content: Any, **rest: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content}, "finish_reason": "stop", **rest}


def read(raw: bytes) -> list[Completion]:
    return read_reply(raw, STOP).completions(make_request(stop=STOP))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "so <answer>moss"}], "so <answer>moss</answer>"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "moss"}],
         "<think>\nhm\n</think>\n\nmoss"),
        (["a", "b"], "ab"),
        (None, ""),
    ],
)  # fmt: skip
def test_content_is_a_text_or_a_list_of_parts(content: Any, text: str) -> None:
    assert read(body(choice(content)))[0].text == text


def test_a_tag_that_is_open_within_the_reasoning_alone_is_not_closed_behind_it() -> None:
    raw = {"message": {"content": None, "reasoning_content": "so <answer>moss"}, "finish_reason": "stop"}
    assert read(body(raw))[0].text == "<think>\nso <answer>moss\n</think>\n\n"


def test_a_reasoning_object_is_no_reasoning() -> None:
    raw = choice("moss")
    raw["message"]["reasoning"] = {"effort": "low"}
    assert read(body(raw))[0].text == "moss"


@pytest.mark.parametrize("reason", ["stop", "eos", "eos_token", "stop_sequence", "STOP", "end_turn", "COMPLETE", None, 3])
def test_the_stop_tag_is_put_back_for_every_finish_reason_but_the_end_of_the_tokens(reason: Any) -> None:
    assert read(body(choice("<answer>moss", finish_reason=reason)))[0].text == "<answer>moss</answer>"


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS"])
def test_the_end_of_the_tokens_has_more_than_one_name(reason: str) -> None:
    (cut,) = read(body(choice("<answer>moss", finish_reason=reason)))
    assert (cut.text, cut.finish_reason) == ("<answer>moss", "length")


def test_an_answer_that_a_filter_cut_off_is_not_closed() -> None:
    (cut,) = read(body(choice("<answer>moss", finish_reason="content_filter")))
    assert (cut.text, cut.finish_reason) == ("<answer>moss", "length"), "it did not end by itself"


@pytest.mark.parametrize(
    ("said", "closed"),
    [
        ({"stop_reason": None}, False),
        ({"stop_reason": 151645}, False),
        ({"stop_reason": STOP}, True),
        ({"matched_stop": 151645}, False),
        ({"matched_stop": STOP}, True),
        ({"matched_stop": None}, True),
    ],
)
def test_where_the_server_says_that_the_model_ended_its_turn_an_open_tag_stays_open(said: dict[str, Any], closed: bool) -> None:
    assert read(body(choice("<answer>moss", **said)))[0].text.endswith(STOP) == closed


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -3, "completion_tokens": True},
        {"prompt_tokens": 2**63, "completion_tokens": 10**400, "prompt_tokens_details": None},
        {"prompt_tokens": "7", "completion_tokens": [1]},
        [],
    ],
)
def test_counts_that_are_none_are_0(usage: Any) -> None:
    (found,) = read(body(choice("moss"), usage=usage))
    assert (found.prompt_tokens, found.generated_tokens, found.cached_tokens) == (0, 0, 0)


def test_a_count_with_a_fraction_is_rounded_down_and_nan_is_none() -> None:
    assert (count(12.5), count(float("nan")), count(float("inf"))) == (12, 0, 0)


def test_a_count_smaller_than_the_answers_show_is_not_trusted() -> None:
    long = "word " * 100
    found = read(body(choice(long), choice(long), usage={"prompt_tokens": 5, "completion_tokens": 60}))
    assert sum(completion.generated_tokens for completion in found) == 250
    found = read(body(choice(long), choice(long), usage={"prompt_tokens": 5, "completion_tokens": 230}))
    assert sum(completion.generated_tokens for completion in found) == 230


@pytest.mark.parametrize(
    "raw",
    [body(choice("moss \ud83d")), body(choice("moss ?")).replace(b"?", b"\xff"), b"\xef\xbb\xbf" + body(choice("moss \udc00"))],
    ids=["surrogate", "byte", "bom"],
)
def test_what_is_no_unicode_is_replaced(raw: bytes) -> None:
    assert read(raw)[0].text == "moss \ufffd"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert read(body(choice("\U0001f33f")))[0].text == "\U0001f33f"


def test_null_probabilities_are_the_token_alone() -> None:
    logprobs = {"content": [{"token": "1", "logprob": -0.5, "top_logprobs": None}, {"token": None}]}
    assert [token.alternatives for token in read(body(choice("1", logprobs=logprobs)))[0].tokens] == [(("1", -0.5),)]


def test_choices_come_in_the_order_of_their_index() -> None:
    assert [c.text for c in read(body(choice("b", index=1), choice("a", index=0)))] == ["a", "b"]


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": null}', b"[" * 100_000, b"{}", b"9" * 5000]
)
def test_what_holds_no_answer_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read(raw)


def test_of_several_answers_a_count_of_one_alone_is_not_believed() -> None:
    # As llama.cpp counts: 82 tokens for three answers.
    answers = ["moss " * 60, "fern " * 82, "lichen " * 400]
    usage = {"prompt_tokens": 50, "completion_tokens": 82}
    found = read(body(*map(choice, answers), usage=usage))
    assert sum(completion.generated_tokens for completion in found) >= 542
    (alone,) = read(body(choice(answers[1]), usage=usage))
    assert alone.generated_tokens == 82
