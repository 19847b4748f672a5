"""How stages ask: what a first attempt may cost, how many answers one call holds, how many episodes are in work."""

from collections.abc import Sequence
from typing import Any

import pytest

from pop_selfplay.config import EndpointModel, SimulatedModel, capacity_of
from pop_selfplay.episode import rate
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.records import Failure
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.solve import solve
from tests.unit.stages.scripted import PROBLEM, RUBRIC, Scripted, candidates, play
from tests.unit.stages.test_stages import evaluation


class AtOnce(Scripted):
    """Answers several requests in one call, and notes their numbers."""

    def __init__(self) -> None:
        super().__init__(lambda request: f"<answer>{request.seed}</answer>")
        self.calls: list[int] = []

    async def complete_many(self, requests: Sequence[ChatRequest]) -> list[Completion] | None:
        self.calls.append(len(requests))
        return [await self.complete(request) for request in requests]


def test_a_run_away_costs_the_first_attempt_no_more_than_its_own_limit() -> None:
    model = Scripted(lambda request: evaluation(dose=1, effect=1) if request.max_tokens == 4096 else "<evaluation>on and on")
    found = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a", "b"), 1), judge={"first_tokens": 512})
    assert not isinstance(found, Failure)
    assert sorted(request.max_tokens for request in model.requests) == [512, 512, 4096, 4096]


def test_candidates_that_ran_away_are_asked_for_again_only_while_too_few_are_valid() -> None:
    def long(share: int) -> Scripted:
        return Scripted(
            lambda request: "<answer>on" if request.seed % 97 < share and request.max_tokens == 100 else "<answer>x</answer>"
        )

    few, most = long(20), long(97)
    for model, asked in ((few, 12), (most, 24)):
        found = play(model, lambda cast: solve(cast, PROBLEM, 1), candidates=12, solver={"first_tokens": 100})
        assert not isinstance(found, Failure) and len(model.requests) == asked
    assert {request.max_tokens for request in few.requests} == {100}
    assert {request.max_tokens for request in most.requests} == {100, 6144}


def test_a_limit_of_the_first_attempt_above_max_tokens_changes_nothing() -> None:
    model = Scripted(lambda _: "<answer>x</answer>")
    play(model, lambda cast: solve(cast, PROBLEM, 1), solver={"first_tokens": 900, "max_tokens": 300})
    assert {request.max_tokens for request in model.requests} == {300}


def test_candidates_come_up_to_eight_in_a_call() -> None:
    model = AtOnce()
    found = play(model, lambda cast: solve(cast, PROBLEM, 1), candidates=20)
    assert not isinstance(found, Failure) and len(found) == 20 and model.calls == [8, 8, 4]
    single = Scripted(lambda request: f"<answer>{request.seed}</answer>")
    assert found == play(single, lambda cast: solve(cast, PROBLEM, 1), candidates=20)


@pytest.mark.parametrize(
    ("capacity", "settings", "wanted"),
    [
        (0, {"candidates": 32}, 64),
        (512, {"candidates": 32}, 64),
        (512, {"candidates": 8}, 192),
        (4096, {"candidates": 32}, 384),
        (512, {"candidates": 32, "early_stop": {"first_share": 0.25}}, 192),
        (4096, {"candidates": 8, "episodes_in_flight": 5}, 5),
    ],
)
def test_enough_episodes_are_in_work_to_keep_the_servers_full(capacity: int, settings: dict[str, Any], wanted: int) -> None:
    async def at_once(cast: Cast) -> int:
        return Cast(cast.models, cast.domain, cast.synthesis, cast.journal, cast.seed, capacity=capacity).episodes_at_once

    assert play(Scripted(lambda _: ""), at_once, **settings) == wanted


def test_the_capacity_of_a_served_model_is_that_of_all_its_servers() -> None:
    urls = ["http://a/v1", "http://b/v1"]
    assert capacity_of(EndpointModel(base_urls=urls, model="m", max_in_flight=100)) == 200
    assert capacity_of(SimulatedModel()) == 0
