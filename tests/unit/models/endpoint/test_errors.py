"""What servers' refusals mean, in the words that real ones use."""

import json
from typing import Any

import pytest

from pop_selfplay.models.endpoint.errors import Kind, read_error
from pop_selfplay.models.endpoint.http import Response

SENT = {
    **{"model": "m", "messages": [], "temperature": 0, "top_p": 1, "max_tokens": 5, "seed": 1, "n": 2, "stop": ["x"]},
    **{"response_format": {}, "logprobs": True, "top_logprobs": 10},
}


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def vllm(message: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}


def anthropic(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def mistral(parameter: str) -> dict[str, Any]:
    at = {"type": "extra_forbidden", "loc": ["body", parameter], "msg": "Extra inputs are not permitted", "input": 1}
    return {"object": "error", "message": {"detail": [at]}, "type": "invalid_request_error", "param": None, "code": None}


def tgi(message: str) -> dict[str, Any]:
    return {"error": message, "error_type": "validation"}


def kind_of(status: int, body: Any) -> tuple[Kind, str] | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = read_error(Response(status, {}, raw), SENT)
    return None if error is None else (error.kind, error.parameter)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, vllm("'max_tokens' or 'max_completion_tokens' is too large: 6144. This model's maximum context length is 4096")),
        (
            400,
            vllm("This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 in the ...)"),
        ),
        (400, openai("This model's maximum context length is 8192 tokens.", "messages", "context_length_exceeded")),
        (400, openai("max_tokens is too large: 6144. This model supports at most 4096 completion tokens", "max_tokens")),
        (400, vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens).")),
        (400, vllm("Requested token count exceeds the model's maximum context length of 202752 tokens.")),
        (400, vllm("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).")),
        (422, tgi("Input validation error: `inputs` must have less than 1024 tokens. Given: 2000")),
        (422, tgi("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 90 `inputs` tokens")),
        (500, {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}),
        (400, {"error": {"code": 400, "message": "request (9412 tokens) exceeds the available context size (8192 tokens)"}}),
        (500, {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size"}}),
        (400, anthropic("prompt is too long: 210000 tokens > 200000 maximum")),
        (400, anthropic("max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens")),
        (
            200,
            {"error": {"message": "This endpoint's maximum context length is 8192 tokens. You requested 9011.", "code": 400}},
        ),
        (413, b"<html>Request Entity Too Large</html>"),
    ],
)
def test_what_is_too_long_is_known_by_the_words_of_every_server(status: int, body: Any) -> None:
    assert kind_of(status, body) == (Kind.TOO_LONG, "")


@pytest.mark.parametrize(
    ("status", "body", "parameter"),
    [
        (
            400,
            openai("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'", "max_tokens"),
            "max_tokens",
        ),
        (400, openai("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'"), "max_tokens"),
        (
            400,
            openai("'temperature' does not support 0 with this model. Only the default (1) value is supported."),
            "temperature",
        ),
        (400, openai("Unsupported parameter: 'stop' is not supported with this model.", "stop"), "stop"),
        (400, openai("Unrecognized request argument supplied: seed"), "seed"),
        (422, mistral("seed"), "seed"),
        (
            400,
            vllm("[{'type': 'extra_forbidden', 'loc': ('body', 'top_p'), 'msg': 'Extra inputs are not permitted'}]"),
            "top_p",
        ),
        (400, anthropic("`temperature` and `top_p` cannot both be specified for this model."), "top_p"),
        (
            400,
            {"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'}},
            "seed",
        ),
        (
            400,
            openai("'response_format' of type 'json_schema' is not supported with this model.", "response_format"),
            "response_format",
        ),
        (400, openai("Invalid value for 'top_logprobs': must be less than or equal to 5."), "top_logprobs"),
        (400, openai("n must be at most 2"), "n"),
    ],
)
def test_the_parameter_that_a_server_does_not_take_is_named(status: int, body: Any, parameter: str) -> None:
    assert kind_of(status, body) == (Kind.PARAMETER, parameter)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai("filtered due to the content management policy", "prompt", "content_filter"), Kind.CONTENT),
        (403, openai("This model requires moderation; your input was flagged for violence"), Kind.CONTENT),
        (400, openai("content policy: the prompt speaks of logprobs"), Kind.CONTENT),
        (400, vllm("System role not supported"), Kind.SYSTEM_ROLE),
        (400, vllm("Conversation roles must alternate user/assistant/user/assistant/..."), Kind.SYSTEM_ROLE),
        (400, vllm("Only user and assistant roles are supported!"), Kind.SYSTEM_ROLE),
        (401, {"detail": "Unauthorized"}, Kind.BAD_KEY),
        (400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}, Kind.BAD_KEY),
        (402, {"error": {"message": "This request requires more credits", "code": 402}}, Kind.NO_MONEY),
        (400, anthropic("Your credit balance is too low to access the Anthropic API."), Kind.NO_MONEY),
        (429, openai("You exceeded your current quota", None, "insufficient_quota"), Kind.NO_MONEY),
        (429, {"error": {"message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}, Kind.OVERLOAD),
        (404, {"error": "model 'x' not found, try pulling it first"}, Kind.WRONG_MODEL),
        (400, openai("x is not a valid model ID"), Kind.WRONG_MODEL),
        (429, openai("Rate limit reached"), Kind.OVERLOAD),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, Kind.OVERLOAD),
        (529, anthropic("Overloaded", "overloaded_error"), Kind.OVERLOAD),
        (200, {"error": {"message": "Provider returned error", "code": 502}, "user_id": "u"}, Kind.OVERLOAD),
        (500, openai("oops"), Kind.BROKEN),
        (200, {"error": {"message": "something"}}, Kind.BROKEN),
        (307, b"", Kind.ADDRESS),
        (400, b"The plain HTTP request was sent to HTTPS port", Kind.ADDRESS),
        (400, {"error": "json: cannot unmarshal array into Go struct field ChatRequest.messages of type string"}, Kind.UNKNOWN),
        (400, openai("odd character"), Kind.UNKNOWN),
    ],
)  # fmt: skip
def test_every_other_refusal_is_told_apart_too(status: int, body: Any, kind: Kind) -> None:
    assert kind_of(status, body) == (kind, "")


def test_an_answer_is_no_refusal() -> None:
    assert kind_of(200, {"choices": [{"message": {"content": "moss"}}]}) is None
    assert kind_of(201, {"choices": [{"message": {"content": "moss"}}], "error": None}) is None


def test_words_wrapped_deep_are_found() -> None:
    raw = {
        "error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"detail": "seed is not supported"}'}}
    }
    assert kind_of(400, raw) == (Kind.PARAMETER, "seed")
