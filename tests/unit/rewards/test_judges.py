"""A judge is a config, the same as data, the path of a model, or the address of a server that is asked what it serves."""

import httpx2
import pytest

from pop_selfplay.config import EndpointModel, LocalModel, SimulatedModel
from pop_selfplay.errors import ConfigError, ModelRefused, ModelUnavailable
from pop_selfplay.rewards.rubric_reward import judge_config

ADDRESS = "http://localhost:8000/v1"


def test_a_config_stays_as_it_is_and_data_becomes_one() -> None:
    config = SimulatedModel(seed=3)
    assert judge_config(config) is config
    assert judge_config({"type": "simulated", "seed": 3}) == config


def test_a_text_that_is_no_address_is_a_model_in_this_process() -> None:
    assert judge_config("models/judge") == LocalModel(path="models/judge")


def serve(monkeypatch: pytest.MonkeyPatch, reply: httpx2.Response | Exception) -> None:
    def get(url: str, timeout: float) -> httpx2.Response:
        assert url == f"{ADDRESS}/models"
        if isinstance(reply, Exception):
            raise reply
        reply.request = httpx2.Request("GET", url)
        return reply

    monkeypatch.setattr(httpx2, "get", get)


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/"])
def test_a_server_tells_what_it_serves(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    serve(monkeypatch, httpx2.Response(200, json={"data": [{"id": "qwen"}]}))
    assert judge_config(address) == EndpointModel(base_url=address, model="qwen")


def test_a_server_of_several_models_needs_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, httpx2.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]}))
    with pytest.raises(ConfigError, match=r"serves 2 models \(a, b\)"):
        judge_config(ADDRESS)


@pytest.mark.parametrize("reply", [httpx2.Response(404), httpx2.Response(200, text="hello"), httpx2.Response(200, json=[])])
def test_a_server_that_does_not_tell_is_refused(monkeypatch: pytest.MonkeyPatch, reply: httpx2.Response) -> None:
    serve(monkeypatch, reply)
    with pytest.raises(ModelRefused, match="does not list its models"):
        judge_config(ADDRESS)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ModelRefused, match="does not list its models"):
        judge_config("http://localhost:port/v1")


def test_a_server_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, httpx2.ConnectError("refused"))
    with pytest.raises(ModelUnavailable, match="Is the server up"):
        judge_config(ADDRESS)


def test_data_that_is_no_model_is_refused_by_the_field() -> None:
    with pytest.raises(ConfigError, match="seed"):
        judge_config({"type": "simulated", "seed": "many"})
