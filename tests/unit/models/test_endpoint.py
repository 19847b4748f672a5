"""The client of OpenAI-compatible servers, against replies made by hand."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.models.base import ChatRequest, Completion, Token
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.endpoint.errors import Kind, ServerError
from pop_selfplay.models.endpoint.http import Dropped, Response, Send
from pop_selfplay.models.endpoint.servers import Refused, as_error

Handler = Callable[[dict[str, Any]], Response]


def answered(data: Any, status: int = 200, **headers: str) -> Response:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def reply(*contents: str | None, finish_reason: str = "stop", **message: Any) -> Response:
    choices = [
        {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
        for content in contents
    ]
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    return answered({"choices": choices, "usage": usage})


def refusal(status: int, message: str) -> Response:
    return answered({"error": {"message": message}}, status)


def sending(handler: Handler) -> Send:
    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        return handler(json.loads(body))

    return send


def ask(handler: Handler, *requests: ChatRequest, patience_s: float = 5.0) -> list[Completion]:
    """Return the completions of `requests`, one after the other, from a server that answers with `handler`."""

    async def run() -> list[Completion]:
        config = EndpointModel(base_url="http://server.test/v1", model="small", patience_s=patience_s)
        model = EndpointChatModel(config, send=sending(handler))
        try:
            return [await model.complete(request) for request in requests]
        finally:
            await model.close()
            await model.close()

    return asyncio.run(run())


def one_after_the_other(*responses: Response | Exception) -> Handler:
    queue = list(responses)

    def handler(body: dict[str, Any]) -> Response:
        response = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(response, Exception):
            raise response
        return response

    return handler


def test_all_sampling_parameters_are_sent_and_the_seed_fits_31_bits() -> None:
    bodies: list[dict[str, Any]] = []

    def handler(body: dict[str, Any]) -> Response:
        bodies.append(body)
        return reply("moss")

    request = make_request(
        "hi \ud800", system="be brief", temperature=0.5, top_p=0.9, max_tokens=11, seed=2**62 + 5, stop="</a>"
    )
    ask(handler, request, make_request(seed=2**62 + 6))
    assert bodies[0].pop("seed") != bodies[1]["seed"]
    assert 0 <= bodies[1]["seed"] < 2**31
    assert "stop" not in bodies[1]
    assert bodies[0] == {
        "model": "small",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi \ud800"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 11,
        "stop": ["</a>"],
    }


def test_a_schema_is_sent_as_the_response_format() -> None:
    bodies: list[dict[str, Any]] = []

    def handler(body: dict[str, Any]) -> Response:
        bodies.append(body)
        return reply("{}")

    schema = {"type": "object"}
    ask(handler, dataclasses.replace(make_request("hi"), schema=schema), make_request("hi"))
    assert bodies[0]["response_format"]["type"] == "json_schema"
    assert bodies[0]["response_format"]["json_schema"]["schema"] == schema
    assert "response_format" not in bodies[1]


def test_token_counts_are_the_servers_own_and_zero_where_it_gives_none() -> None:
    counted = ask(one_after_the_other(reply("moss")), make_request())[0]
    assert (counted.prompt_tokens, counted.generated_tokens, counted.cached_tokens) == (7, 5, 3)
    bare = answered({"choices": [{"message": {"content": "moss"}}]})
    assert ask(one_after_the_other(bare), make_request()) == [
        Completion(text="moss", finish_reason="stop", prompt_tokens=0, generated_tokens=0)
    ]


@pytest.mark.parametrize(
    ("content", "finish_reason", "expected"),
    [
        ("so <answer>moss", "stop", "so <answer>moss</answer>"),
        ("so <answer>moss</answer>", "stop", "so <answer>moss</answer>"),
        ("so <answer>mo", "length", "so <answer>mo"),
        ("so moss", "stop", "so moss"),
        ("<answer>a</answer> or <answer>b", "stop", "<answer>a</answer> or <answer>b</answer>"),
    ],
)
def test_the_stop_tag_is_kept_where_the_server_cut_it_off(content: str, finish_reason: str, expected: str) -> None:
    completion = ask(one_after_the_other(reply(content, finish_reason=finish_reason)), make_request(stop="</answer>"))[0]
    assert (completion.text, completion.finish_reason) == (expected, finish_reason)


def test_reasoning_that_the_server_split_off_is_put_back() -> None:
    split = reply("<answer>moss", reasoning_content="green things")
    text = ask(one_after_the_other(split), make_request(stop="</answer>"))[0].text
    assert text == "<think>\ngreen things\n</think>\n\n<answer>moss</answer>"


@pytest.mark.parametrize(
    "fault",
    [
        refusal(500, "oops"),
        refusal(503, "loading"),
        refusal(408, "slow"),
        answered(b"", 429, retry_after="0.01"),
        answered(b"", 429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        answered(b"", 429, retry_after="soon"),
        answered(b"<html>proxy</html>"),
        answered({"choices": []}),
        Dropped("hung up"),
        Dropped("nobody there", unreachable=True),
    ],
    ids=str,
)
def test_what_heals_is_tried_again(fault: Response | Exception) -> None:
    assert ask(one_after_the_other(fault, reply("moss")), make_request())[0].text == "moss"


def test_retry_after_is_honoured() -> None:
    times: list[float] = []

    def handler(body: dict[str, Any]) -> Response:
        times.append(asyncio.get_running_loop().time())
        return reply("moss") if len(times) > 1 else answered(b"", 429, retry_after="0.3")

    ask(handler, make_request())
    assert times[1] - times[0] >= 0.3


def test_a_server_that_stays_down_is_given_up_when_patience_ends(logged: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match=r"tries in .*: refused.*pop run DIR"):
        ask(one_after_the_other(Dropped("refused", unreachable=True)), make_request(), patience_s=0.3)
    assert logged == ["http://server.test/v1/chat/completions cannot be reached; paused, waiting up to 0.3 s for it (refused)"]


def test_a_server_that_asks_for_more_than_our_patience_is_tried_once_more_at_its_end() -> None:
    with pytest.raises(ModelUnavailable, match=r": 2 tries in"):
        ask(one_after_the_other(answered(b"", 429, retry_after="3600")), make_request(), patience_s=0.2)


def test_a_call_on_which_a_healthy_server_always_fails_is_refused_alone() -> None:
    def handler(body: dict[str, Any]) -> Response:
        return refusal(500, "cannot tokenise") if "poison" in str(body) else reply("moss")

    async def run() -> None:
        config = EndpointModel(base_url="http://server.test/v1", model="small", patience_s=0.5)
        model = EndpointChatModel(config, send=sending(handler))
        poisoned = asyncio.create_task(model.complete(make_request("poison")))
        while not poisoned.done():
            assert (await model.complete(make_request())).text == "moss"
            await asyncio.sleep(0.01)
        with pytest.raises(RequestRefused, match=r"answers other requests but never this one.*cannot tokenise"):
            await poisoned
        await model.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "words", "advice"),
    [
        (401, "bad key", "check the key"),
        (403, "no access", "permissions"),
        (404, "no such model", "'small'"),
        (307, "", "base_url"),
    ],
)
def test_what_cannot_heal_stops_the_run_at_once_with_the_servers_words(status: int, words: str, advice: str) -> None:
    with pytest.raises(ModelRefused, match=f"HTTP {status}: {words}.*{advice}"):
        ask(one_after_the_other(refusal(status, words)), make_request())


@pytest.mark.parametrize(("address", "said"), [("http://h:8000", True), ("http://h:8000/v1", False)])
def test_a_404_reminds_of_v1_where_the_address_lacks_it(address: str, said: bool) -> None:
    refused = Refused(f"{address}/chat/completions", ServerError(Kind.WRONG_MODEL, 404, "not found"))
    error = as_error(refused, EndpointModel(base_url=address, model="small"), has_answered=False, needs="")
    assert ("/v1," in str(error)) == said


def test_a_request_beyond_the_context_is_refused_alone() -> None:
    with pytest.raises(RequestRefused, match="maximum context length is 512"):
        ask(one_after_the_other(refusal(400, "the maximum context length is 512 tokens")), make_request())


def test_a_400_for_a_reason_unknown_refuses_this_call_alone_with_the_settings_that_may_help() -> None:
    for responses in ([refusal(400, "odd character")], [reply("moss"), refusal(400, "odd character")]):
        with pytest.raises(RequestRefused, match=r"odd character.*model\.omit"):
            ask(one_after_the_other(*responses), make_request(), make_request())


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ModelRefused, match="base_url"):
        EndpointChatModel(EndpointModel(base_url=base_url, model="small"))


def test_a_missing_key_is_refused_and_a_present_one_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    config = EndpointModel(base_url="http://server.test/v1", model="small", api_key_env="SOME_KEY")
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ModelRefused, match="SOME_KEY"):
        EndpointChatModel(config)
    monkeypatch.setenv("SOME_KEY", "abc")

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        return reply(headers["authorization"])

    model = EndpointChatModel(config, send=send)
    assert asyncio.run(model.complete(make_request())).text == "Bearer abc"


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    running = peak = 0

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        assert url == "http://server.test/v1/chat/completions"
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1
        return reply("moss")

    async def run() -> None:
        config = EndpointModel(base_url="http://server.test/v1", model="small", max_in_flight=3)
        model = EndpointChatModel(config, send=send)
        await asyncio.gather(*(model.complete(make_request(seed=seed)) for seed in range(12)))
        await model.close()

    asyncio.run(run())
    assert peak == 3


# --- probabilities ----------------------------------------------------------------------------------------------------


def with_logprobs(content: list[dict[str, Any]] | None) -> Response:
    data = json.loads(reply("1").body)
    data["choices"][0]["logprobs"] = {"content": content}
    return answered(data)


def test_probabilities_are_asked_for_and_read_with_the_token_itself_among_them() -> None:
    bodies: list[dict[str, Any]] = []
    content = [
        {"token": "1", "logprob": -0.2, "top_logprobs": [{"token": "2", "logprob": -1.7, "bytes": [50]}]},
        {"token": "}", "logprob": -0.1},
    ]

    def handler(body: dict[str, Any]) -> Response:
        bodies.append(body)
        return with_logprobs(content)

    asked, _ = ask(handler, make_request(top_logprobs=7), make_request())
    assert (bodies[0]["logprobs"], bodies[0]["top_logprobs"]) == (True, 7)
    assert "logprobs" not in bodies[1] and "top_logprobs" not in bodies[1]
    assert asked.tokens == (Token("1", (("1", -0.2), ("2", -1.7))), Token("}", (("}", -0.1),)))


@pytest.mark.parametrize(
    "response",
    [reply("1"), with_logprobs(None), refusal(400, "top_logprobs must be at most 5")],
    ids=["none", "null", "refused"],
)
def test_a_server_without_probabilities_is_refused_with_what_to_do(response: Response) -> None:
    with pytest.raises(ModelRefused, match=r"synthesis\.logprob\.top"):
        ask(one_after_the_other(reply("x"), response), make_request(), make_request(top_logprobs=10))


def test_a_refusal_that_only_speaks_of_them_ends_no_run_on_a_server_that_gives_them() -> None:
    given = with_logprobs([{"token": "1", "logprob": -0.2}])
    echoed = refusal(400, "content policy: the prompt speaks of logprobs")
    with pytest.raises(RequestRefused):
        ask(one_after_the_other(given, echoed), make_request(top_logprobs=3), make_request(top_logprobs=3))
