"""A judge is a config, the same as data, the path of a model, or the address of a server that is asked what it serves."""

from contextlib import AbstractContextManager

import pytest
from aiohttp import web

from pop_selfplay.config import EndpointModel, LocalModel, SimulatedModel
from pop_selfplay.errors import ConfigError, ModelRefused, ModelUnavailable
from pop_selfplay.models.simulated.server import serving
from pop_selfplay.rewards.rubric_reward import judge_config


def test_a_config_stays_as_it_is_and_data_becomes_one() -> None:
    config = SimulatedModel(seed=3)
    assert judge_config(config) is config
    assert judge_config({"type": "simulated", "seed": 3}) == config


def test_a_text_that_is_no_address_is_a_model_in_this_process() -> None:
    assert judge_config("models/judge") == LocalModel(path="models/judge")


def served(reply: web.Response) -> AbstractContextManager[str]:
    """Yield the address of a server that answers `reply` to who asks for its models."""

    async def models(_: web.Request) -> web.Response:
        return reply

    app = web.Application()
    app.add_routes([web.get("/v1/models", models)])
    return serving(app)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_server_tells_what_it_serves(end: str) -> None:
    with served(web.json_response({"data": [{"id": "qwen"}]})) as address:
        assert judge_config(address + end) == EndpointModel(base_url=address + end, model="qwen")


def test_a_server_of_several_models_needs_a_name() -> None:
    with (
        served(web.json_response({"data": [{"id": "a"}, {"id": "b"}]})) as address,
        pytest.raises(ConfigError, match=r"serves 2 models \(a, b\)"),
    ):
        judge_config(address)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (web.Response(status=404), "answers 404 Not Found"),
        (web.Response(text="hello"), "does not answer in JSON"),
        (web.json_response([]), "does not list its models"),
    ],
)
def test_a_server_that_does_not_tell_is_refused_with_what_to_write_instead(reply: web.Response, said: str) -> None:
    with served(reply) as address, pytest.raises(ModelRefused, match=said) as refused:
        judge_config(address)
    assert refused.value.__notes__ == ['give the judge as {"type": "endpoint", "base_url": …, "model": …}']


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ModelRefused, match="is not a URL"):
        judge_config("http://localhost:port/v1")


def test_a_server_that_is_away_is_unavailable() -> None:
    with served(web.Response()) as address:
        pass
    with pytest.raises(ModelUnavailable, match="Is the server up"):
        judge_config(address)


def test_data_that_is_no_model_is_refused_by_the_field() -> None:
    with pytest.raises(ConfigError, match="seed"):
        judge_config({"type": "simulated", "seed": "many"})
