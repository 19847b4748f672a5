"""The simulated server over HTTP: choices, stop and limits, its clock and statistics, its faults."""

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import HttpFaults, serving, simulated_app
from pop_selfplay.models.simulated.timed import TimedChatModel
from pop_selfplay.models.simulated.timing import Machine

SPEEDUP = 200.0


@contextmanager
def served(faults: HttpFaults | None = None, machine: Machine | None = None) -> Iterator[httpx2.Client]:
    timed = TimedChatModel(SimulatedChatModel(SimulatedModel()), machine, speedup=SPEEDUP)
    with serving(simulated_app(timed, faults=faults)) as base_url, httpx2.Client(base_url=base_url, timeout=30) as client:
        yield client


def body(user: str = "Why?", **more: Any) -> dict[str, Any]:
    return {"model": "simulated", "messages": [{"role": "user", "content": user}], "max_tokens": 4096, **more}


def choices(client: httpx2.Client, **more: Any) -> list[str]:
    reply = client.post("chat/completions", json=body(**more)).raise_for_status().json()
    assert [choice["index"] for choice in reply["choices"]] == list(range(len(reply["choices"])))
    return [choice["message"]["content"] for choice in reply["choices"]]


def stats(client: httpx2.Client) -> Any:
    return client.get("../stats").raise_for_status().json()


def test_n_choices_differ_are_repeatable_and_begin_with_the_single_one() -> None:
    with served() as client:
        several = choices(client, n=5, seed=7)
        assert len(set(several)) == 5 and choices(client, n=5, seed=7) == several
        assert choices(client, seed=7) == several[:1] and choices(client, seed=8) != several[:1]


def test_text_ends_before_the_stop_string_and_at_max_tokens() -> None:
    with served() as client:
        (whole,) = choices(client)
        (stopped,) = choices(client, stop=["</answer>"])
        assert whole.partition("</answer>")[0] == stopped
        reply = client.post("chat/completions", json=body(max_tokens=9, stop="</answer>")).json()
        assert reply["choices"][0]["finish_reason"] == "length" and reply["usage"]["completion_tokens"] == 9


def test_the_newer_name_of_max_tokens_and_an_open_seed_are_understood() -> None:
    with served() as client:
        asked = body(seed=None, max_completion_tokens=7)
        del asked["max_tokens"]
        assert client.post("chat/completions", json=asked).json()["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize("wrong", [{"n": 0}, {"stop": ["a", "b"]}, {"stream": True}, {"messages": []}, {"max_tokens": 0}])
def test_what_the_server_cannot_do_is_refused(wrong: dict[str, Any]) -> None:
    with served() as client:
        assert client.post("chat/completions", json=body() | wrong).status_code == 400


def test_statistics_tell_roles_tokens_and_how_full_the_machine_was_until_reset() -> None:
    with served(machine=Machine(slots=2)) as client:
        prompt = "Write <answer>. " + "A long question. " * 50
        choices(client, user=prompt, n=6)
        found = stats(client)
        solver = found["by_role"]["solver"]
        assert solver["completions"] == found["completions"] == 6 and found["requests"] == 1
        assert solver["generated_tokens"] == found["generated_tokens"] > 300
        # All but the first take the prompt's full blocks from the cache.
        assert solver["cached_tokens"] == 5 * (solver["prompt_tokens"] // 6 // 16 * 16)
        assert 1.5 < found["mean_running"] <= 2 and found["mean_waiting"] > 0
        assert found["window_s"] >= solver["generated_tokens"] / 2 * 0.02
        assert found["busy_s"] == pytest.approx(found["window_s"]) and found["idle_share"] == pytest.approx(0, abs=1e-9)
        assert found["server_cpu_share"] > 0 and found["delivery_lag_real_ms"]["max"] >= 0
        client.post("../reset").raise_for_status()
        assert stats(client)["completions"] == stats(client)["requests"] == stats(client)["window_s"] == 0


def test_simulated_time_is_what_the_machine_takes_whatever_the_speedup() -> None:
    async def window_s(speedup: float) -> float:
        model = SimulatedChatModel(SimulatedModel())
        timed = TimedChatModel(model, Machine(step_base_s=0.5, prefill_tokens_per_s=1e9), speedup=speedup)
        completion = await timed.complete(make_request())
        found = float(timed.statistics()["window_s"])
        assert found == pytest.approx(completion.generated_tokens * 0.5001, rel=1e-3)
        assert dataclasses.replace(completion, cached_tokens=0) == model.write(make_request())
        return found

    assert asyncio.run(window_s(1000)) == pytest.approx(asyncio.run(window_s(400)))


def test_a_client_that_hangs_up_frees_its_slot() -> None:
    with served(machine=Machine(slots=1, step_base_s=20)) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.post("chat/completions", json=body(), timeout=0.2)
        choices(client, max_tokens=1)
        assert stats(client)["completions"] == 1


def test_a_rate_limit_says_when_to_come_again() -> None:
    with served(HttpFaults(rate_limit_rate=1, retry_after_s=7)) as client:
        reply = client.post("chat/completions", json=body())
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
        assert stats(client)["rate_limit"] == 1


def test_a_dropped_connection_ends_in_the_middle_of_the_reply_before_or_after_the_work() -> None:
    with served(HttpFaults(drop_rate=1)) as client:
        for number in range(12):
            with pytest.raises(httpx2.RemoteProtocolError):
                client.post("chat/completions", json=body(seed=number))
        found = stats(client)
        assert found["drop_before"] + found["drop_after"] == 12 and found["completions"] == found["drop_after"] > 0
        assert found["drop_before"] > 0


def test_faults_strike_the_same_requests_in_whatever_order_and_another_try_is_another_draw() -> None:
    def statuses(order: range) -> dict[int, list[int]]:
        with served(HttpFaults(seed=1, error_rate=0.5)) as client:
            return {
                seed: [client.post("chat/completions", json=body(seed=seed)).status_code for _ in range(4)] for seed in order
            }

    found = statuses(range(10))
    assert found == statuses(range(9, -1, -1))
    assert {status for tries in found.values() for status in tries} == {200, 500}
    assert any(len(set(tries)) == 2 for tries in found.values())
