"""The client and the shipped server over a real loopback connection, with faults."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import Sequence

import httpx2
import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.config import EndpointModel, SimulatedModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.method.expected_rating import compact, parse_ratings
from pop_selfplay.method.parsing import Parsed, parse_rubric
from pop_selfplay.method.rubric_json import rubric_schema
from pop_selfplay.models import open_model
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import HttpFaults, serving, simulated_app
from pop_selfplay.records import Criterion, Role
from pop_selfplay.tasks import together

CRITERIA = [Criterion(name=name, description="d", weight=1, gold="g") for name in ("dose", "effect")]
MODEL = SimulatedChatModel(SimulatedModel())
REQUESTS = [make_request(system="Write <answer>.", seed=seed, stop="</answer>") for seed in range(24)]


async def ask(model: EndpointModel | SimulatedModel, requests: Sequence[ChatRequest]) -> list[Completion]:
    opened = open_model(model)
    try:
        return await together(map(opened.complete, requests))
    finally:
        await opened.close()


def over_http(base_url: str, *, model: str = "simulated", patience_s: float = 20) -> list[Completion]:
    return asyncio.run(ask(EndpointModel(base_url=base_url, model=model, patience_s=patience_s), REQUESTS))


def test_a_served_model_answers_as_it_does_in_process() -> None:
    with serving(simulated_app(MODEL)) as base_url:
        served = over_http(base_url)
        root = base_url.removesuffix("/v1")
        assert httpx2.get(f"{root}/health").status_code == 200
        assert httpx2.get(f"{base_url}/models").json()["data"][0]["id"] == "simulated"
    assert served == asyncio.run(ask(SimulatedModel(), REQUESTS))
    assert all(completion.text.endswith("</answer>") for completion in served)


def test_a_schema_goes_over_http_and_bare_json_comes_back() -> None:
    rubric = make_request("A document.", system="Write a <rubric>.", role=Role.RUBRIC_WRITER)
    asked = [dataclasses.replace(rubric, schema=rubric_schema(), seed=seed) for seed in range(4)]
    with serving(simulated_app(MODEL)) as base_url:
        served = asyncio.run(ask(EndpointModel(base_url=base_url, model="simulated"), asked))
    assert all(isinstance(parse_rubric(completion.text, bare=True), Parsed) for completion in served)


def test_probabilities_come_over_http_as_they_are_in_process() -> None:
    rubric = '<rubric>{"criterion_1": {"name": "dose"}, "criterion_2": {"name": "effect"}}</rubric>'
    asked = [make_request(f"{rubric}<answer>Moss {n}.</answer>", role=Role.JUDGE, stop="}", top_logprobs=5) for n in range(8)]
    with serving(simulated_app(MODEL)) as base_url:
        served = asyncio.run(ask(EndpointModel(base_url=base_url, model="simulated"), asked))
    in_process = asyncio.run(ask(SimulatedModel(), asked))
    assert [compact(completion.tokens) for completion in served] == [compact(completion.tokens) for completion in in_process]
    assert all(isinstance(parse_ratings(completion, CRITERIA, 0.5), Parsed) for completion in served)


@pytest.mark.parametrize(
    "faults",
    [
        HttpFaults(seed=13, error_rate=0.3),
        HttpFaults(seed=13, rate_limit_rate=0.3, retry_after_s=0),
        HttpFaults(seed=13, drop_rate=0.3),
        HttpFaults(seed=13, error_rate=0.1, rate_limit_rate=0.1, retry_after_s=0, drop_rate=0.1),
    ],
    ids=["errors", "rate limits", "drops", "all"],
)
def test_faults_change_no_answer(faults: HttpFaults) -> None:
    with serving(simulated_app(MODEL, faults=faults)) as base_url:
        assert over_http(base_url) == asyncio.run(ask(SimulatedModel(), REQUESTS))


def test_a_server_that_only_fails_is_given_up_when_patience_ends() -> None:
    failing = simulated_app(MODEL, faults=HttpFaults(error_rate=1))
    with serving(failing) as base_url, pytest.raises(ModelUnavailable, match="simulated failure"):
        over_http(base_url, patience_s=0.3)
    with pytest.raises(ModelUnavailable, match="cannot connect"):
        over_http(base_url, patience_s=0.3)


def test_a_server_that_comes_back_within_patience_is_waited_for() -> None:
    with serving(simulated_app(MODEL)) as base_url:
        port = int(base_url.rpartition(":")[2].removesuffix("/v1"))
    outcomes: list[list[Completion]] = []
    client = threading.Thread(target=lambda: outcomes.append(over_http(base_url)))
    client.start()
    time.sleep(0.4)
    with serving(simulated_app(MODEL), port=port):
        client.join()
    assert len(outcomes[0]) == len(REQUESTS)


def test_a_call_that_outlives_its_model_opens_no_new_connection() -> None:
    async def run(base_url: str) -> None:
        model = open_model(EndpointModel(base_url=base_url, model="simulated"))
        await model.complete(REQUESTS[0])
        await model.close()
        with pytest.raises(RuntimeError, match="was closed"):
            await model.complete(REQUESTS[0])

    with serving(simulated_app(MODEL)) as base_url:
        asyncio.run(run(base_url))


def test_an_unknown_model_and_a_wrong_key_are_refused_at_once() -> None:
    with serving(simulated_app(MODEL)) as base_url, pytest.raises(ModelRefused, match="`other` does not exist"):
        over_http(base_url, model="other")
    with serving(simulated_app(MODEL, api_key="secret")) as base_url, pytest.raises(ModelRefused, match="Incorrect API key"):
        over_http(base_url)


def test_a_port_in_use_is_reported() -> None:
    with serving(simulated_app(MODEL)) as base_url:
        port = int(base_url.rpartition(":")[2].removesuffix("/v1"))
        with pytest.raises(RuntimeError, match="port in use"), serving(simulated_app(MODEL), port=port):
            pass
