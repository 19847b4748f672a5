"""What a server can do is found out by asking it, and what it refuses is said in its own words."""

import json
from typing import Any

import pytest
from aiohttp import web

from pop_selfplay.config import EndpointModel, SimulatedModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.models.endpoint.probe import ServedModel, abilities, served_models
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app


def chat(answer: Any) -> web.Application:
    """Return a server whose answers are what `answer` makes of the body."""

    async def complete(request: web.Request) -> web.Response:
        found = answer(await request.json())
        return found if isinstance(found, web.Response) else web.json_response(found)

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", complete)])
    return app


def choices(*texts: str) -> Any:
    return {"choices": [{"message": {"content": text}} for text in texts]}


def found(app: web.Application) -> dict[str, str]:
    with serving(app) as address:
        return abilities(EndpointModel(base_url=address, model="m"))


def test_the_context_length_is_read_wherever_a_server_has_it() -> None:
    listed = [{"id": "a", "max_model_len": 4096}, {"id": "b", "meta": {"n_ctx": 512}}, {"id": "c"}]

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": listed})

    app = web.Application()
    app.add_routes([web.get("/v1/models", models)])
    with serving(app) as address:
        assert served_models(address) == [ServedModel("a", 4096), ServedModel("b", 512), ServedModel("c", None)]


def test_a_server_that_does_all_of_it_is_found_to() -> None:
    assert found(simulated_app(SimulatedChatModel(SimulatedModel(), name="m"))) | {"json_schema": ""} == dict.fromkeys(
        ("answer", "n", "logprobs", "json_schema"), ""
    )


def test_what_a_server_ignores_is_told_from_what_it_refuses() -> None:
    def answer(body: Any) -> Any:
        if "logprobs" in body:
            return web.json_response({"error": "no logprobs here"}, status=400)
        return choices(json.dumps({"colour": "red"}) if "response_format" in body else "a colour")

    said = found(chat(answer))
    assert said["answer"] == said["json_schema"] == "" and said["n"] == "answers as if it had not been asked for"
    assert "400" in said["logprobs"] and "no logprobs here" in said["logprobs"]


def test_text_where_json_was_asked_for_is_no_json() -> None:
    assert found(chat(lambda body: choices("plain words")))["json_schema"] == "answers as if it had not been asked for"
    assert "form that is not" in found(chat(lambda body: {"text": "hello"}))["answer"]


def test_a_server_that_answers_nothing_is_asked_nothing_more() -> None:
    asked: list[Any] = []

    def answer(body: Any) -> Any:
        asked.append(body)
        return web.json_response({"error": "no model m"}, status=404)

    assert list(found(chat(answer))) == ["answer"] and len(asked) == 1


def test_an_api_of_another_kind_is_not_tried() -> None:
    model = EndpointModel(base_url="https://api.anthropic.com/v1", model="m")
    assert abilities(model) == {"answer": "not tried: only OpenAI's API is"}


def test_the_key_goes_to_no_other_server_that_a_server_points_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    async def other(request: web.Request) -> web.Response:
        asked.append(request.headers.get("authorization", ""))
        return web.json_response({"data": [{"id": "m"}]})

    elsewhere = web.Application()
    elsewhere.add_routes([web.get("/v1/models", other)])
    monkeypatch.setenv("KEY", "secret")
    with serving(elsewhere) as target:

        async def points(_: web.Request) -> web.Response:
            raise web.HTTPFound(f"{target}/models")

        app = web.Application()
        app.add_routes([web.get("/v1/models", points)])
        with serving(app) as address, pytest.raises(ModelRefused, match="302"):
            served_models(address)
    assert not asked


def test_a_server_that_is_away_is_said_to_be() -> None:
    with serving(web.Application()) as address:
        pass
    with pytest.raises(ModelUnavailable):
        abilities(EndpointModel(base_url=address, model="m"))
