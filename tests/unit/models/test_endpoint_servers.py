"""Several servers behind one endpoint, several answers in one call, and what the user is told, on servers made by hand."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.unit.models.makers import make_request
from tests.unit.models.test_endpoint import answered, refusal, reply

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelUnavailable
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.endpoint.http import Dropped, Response

URLS = ["http://one.test/v1", "http://two.test/v1"]
Handler = Callable[[str, dict[str, Any]], Awaitable[Response]]


class Told:
    """An endpoint over `handler`, what it asked of which server, and what it told its user."""

    def __init__(self, handler: Handler, **config: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.notices: list[str] = []
        self._handler = handler
        settings = {"base_urls": URLS, "model": "small", "patience_s": 5, **config}
        self.model = EndpointChatModel(EndpointModel(**settings), send=self._send, notice=self.notices.append)

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        host = url.split("/")[2].removesuffix(".test")
        asked = json.loads(body)
        self.calls.append((host, asked))
        return await self._handler(host, asked)

    def hosts(self) -> list[str]:
        return [host for host, _ in self.calls]


def of_episode(group: str, seed: int = 0) -> ChatRequest:
    return dataclasses.replace(make_request(seed=seed, stop="</answer>"), group=group)


def many(count: int, group: str = "e") -> list[ChatRequest]:
    return [of_episode(group, seed) for seed in range(count)]


async def moss(host: str, body: dict[str, Any]) -> Response:
    await asyncio.sleep(0)
    return reply(*(f"so <answer>moss {n}" for n in range(body.get("n", 1))))


# --- replicas ---------------------------------------------------------------------------------------------------------


def test_episodes_spread_over_the_servers_and_each_stays_on_one() -> None:
    async def run() -> None:
        told = Told(moss)
        await asyncio.gather(*(told.model.complete(of_episode(f"e{n % 4}", n)) for n in range(16)))
        at: dict[int, set[str]] = {}
        for host, body in told.calls:
            at.setdefault(body["seed"] % 4, set()).add(host)
        assert all(len(hosts) == 1 for hosts in at.values())
        assert sorted(told.hosts()).count("one") == 8

    asyncio.run(run())


def test_a_new_episode_goes_to_the_server_with_the_least_load() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def slow(host: str, body: dict[str, Any]) -> Response:
            await release.wait()
            return reply("moss")

        told = Told(slow)
        calls = [asyncio.create_task(told.model.complete(of_episode("big", n))) for n in range(3)]
        calls += [asyncio.create_task(told.model.complete(of_episode(f"small {n}"))) for n in range(3)]
        await asyncio.sleep(0.01)
        assert told.hosts() == ["one"] * 3 + ["two"] * 3
        release.set()
        await asyncio.gather(*calls)

    asyncio.run(run())


def test_when_a_server_is_down_its_episodes_move_and_stay_when_it_is_back() -> None:
    async def run() -> None:
        down = set[str]()

        async def sometimes(host: str, body: dict[str, Any]) -> Response:
            if host in down:
                raise Dropped("refused", unreachable=True)
            return await moss(host, body)

        told = Told(sometimes)
        await told.model.complete(of_episode("a"))
        assert told.hosts() == ["one"]
        down.add("one")
        await told.model.complete(of_episode("a"))
        assert told.hosts() == ["one", "one", "two"]
        assert told.notices == [
            "http://one.test/v1/chat/completions cannot be reached; its calls go to the other servers (refused)"
        ]
        down.clear()
        await told.model.complete(of_episode("a"))
        assert told.hosts()[-1] == "two"

    asyncio.run(run())


def test_a_server_that_was_down_is_looked_at_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pop_selfplay.models.endpoint.servers._FIRST_PAUSE_S", 0.02)

    async def run() -> None:
        down = {"one"}

        async def sometimes(host: str, body: dict[str, Any]) -> Response:
            if host in down:
                raise Dropped("refused", unreachable=True)
            return await moss(host, body)

        told = Told(sometimes)
        await told.model.complete(of_episode("a"))
        down.clear()
        for n in range(100):
            await told.model.complete(of_episode(f"later {n}"))
            await asyncio.sleep(0.005)
        assert told.hosts().count("one") > 10
        assert told.notices[-1] == "http://one.test/v1/chat/completions answers again"

    asyncio.run(run())


def test_when_all_are_down_the_user_is_told_that_the_run_waits_and_then_it_ends_resumable() -> None:
    async def nobody(host: str, body: dict[str, Any]) -> Response:
        raise Dropped("refused", unreachable=True)

    async def run() -> None:
        told = Told(nobody, patience_s=0.3)
        with pytest.raises(ModelUnavailable, match="pop run DIR"):
            await told.model.complete(of_episode("a"))
        assert set(told.hosts()) == {"one", "two"}
        assert told.notices[-1].endswith("cannot be reached; paused, waiting up to 0.3 s for it (refused)")

    asyncio.run(run())


def test_a_server_that_says_it_is_full_amid_answers_is_not_called_down() -> None:
    async def run() -> None:
        statuses = iter([200, 503, 200, 200])

        async def full(host: str, body: dict[str, Any]) -> Response:
            return reply("moss") if next(statuses) == 200 else refusal(503, "overloaded")

        told = Told(full, base_urls=[URLS[0]])
        for seed in range(3):
            await told.model.complete(of_episode("a", seed))
        assert told.notices == [] and len(told.calls) == 4

    asyncio.run(run())


def test_calls_that_wait_for_a_server_go_on_at_once_when_it_is_back() -> None:
    async def run() -> None:
        down = True

        async def sometimes(host: str, body: dict[str, Any]) -> Response:
            if down:
                raise Dropped("refused", unreachable=True)
            return await moss(host, body)

        told = Told(sometimes, base_urls=[URLS[0]], patience_s=60)
        calls = [asyncio.create_task(told.model.complete(of_episode("a", n))) for n in range(50)]
        while len(told.calls) < 200:  # by now most wait for many seconds
            await asyncio.sleep(0.01)
        down = False
        async with asyncio.timeout(20):
            await asyncio.gather(*calls)
        assert len(told.notices) == 2

    asyncio.run(run())


def test_calls_that_wait_for_a_server_as_it_goes_down_move_without_being_sent_there() -> None:
    async def run() -> None:
        down = asyncio.Event()

        async def one_hangs_and_dies(host: str, body: dict[str, Any]) -> Response:
            if host == "one":
                await down.wait()
                raise Dropped("refused", unreachable=True)
            return await moss(host, body)

        told = Told(one_hangs_and_dies, max_in_flight=2, patience_s=0)
        calls = [asyncio.create_task(told.model.complete(of_episode("a", n))) for n in range(6)]
        await asyncio.sleep(0.01)
        down.set()
        await asyncio.gather(*calls)
        assert told.hosts().count("one") == 2 and told.hosts().count("two") == 6

    asyncio.run(run())


# --- several answers in one call --------------------------------------------------------------------------------------


def ask_many(told: Told, requests: list[ChatRequest]) -> list[Completion] | None:
    return asyncio.run(told.model.complete_many(requests))


def test_where_a_probe_shows_that_n_is_honoured_all_answers_come_from_one_call_with_the_first_seed() -> None:
    told = Told(moss)
    found = ask_many(told, many(4))
    assert found is not None and [c.text for c in found] == [f"so <answer>moss {n}</answer>" for n in range(4)]
    (_, probe), (_, call) = told.calls
    assert (probe["n"], probe["max_tokens"]) == (2, 16)
    assert (call["n"], call["seed"]) == (4, 0)


def test_the_probes_few_words_teach_nothing_about_how_long_answers_are() -> None:
    async def short(host: str, body: dict[str, Any]) -> Response:
        return reply(*(f"<answer>moss{n}" for n in range(body.get("n", 1))))  # few words: its five tokens are believed

    async def run() -> None:
        told = Told(short)
        before = told.model._expected(many(1)[0])
        await told.model._n_support.honoured(told.model._reply)
        assert len(told.calls) == 1 and told.model._expected(many(1)[0]) == before
        await told.model.complete_many(many(2))
        assert told.model._expected(many(1)[0]) == 2.5

    asyncio.run(run())


def test_the_prompt_is_counted_once_and_the_answers_tokens_are_shared_out_by_length() -> None:
    async def sized(host: str, body: dict[str, Any]) -> Response:
        return reply("a", "b" * 3) if body["max_tokens"] > 16 else reply("x", "y")

    found = ask_many(Told(sized), many(2))
    assert found is not None
    assert [(c.prompt_tokens, c.cached_tokens) for c in found] == [(7, 3), (0, 0)]
    assert [c.generated_tokens for c in found] == [1, 4]


@pytest.mark.parametrize(
    "probed",
    [refusal(400, "n is not supported"), refusal(422, "extra field"), reply("only one"), reply("the same", "the same")],
    ids=["refused", "unprocessable", "ignored", "alike"],
)
def test_a_server_that_does_not_honour_n_is_asked_for_one_answer_at_a_time(probed: Response) -> None:
    async def handler(host: str, body: dict[str, Any]) -> Response:
        return probed if "n" in body else reply("moss")

    async def run() -> None:
        told = Told(handler)
        assert await told.model.complete_many(many(3)) is None
        assert await told.model.complete_many(many(3)) is None
        assert len(told.calls) == 1, "it is probed once"
        assert (await told.model.complete(many(1)[0])).text == "moss"

    asyncio.run(run())


def test_with_never_and_for_a_single_request_nothing_is_probed() -> None:
    told = Told(moss, n="never")
    assert ask_many(told, many(3)) is None and told.calls == []
    told = Told(moss)
    assert ask_many(told, many(1)) is None and told.calls == []


def test_a_server_that_caps_n_is_asked_for_one_at_a_time_from_then_on_and_the_user_is_told() -> None:
    async def capped(host: str, body: dict[str, Any]) -> Response:
        return refusal(400, "n must be at most 2") if body.get("n", 1) > 2 else await moss(host, body)

    async def run() -> None:
        told = Told(capped)
        assert [await told.model.complete_many(many(3)) for _ in range(2)] == [None, None]
        assert len(told.calls) == 2 and "n must be at most 2" in told.notices[0]

    asyncio.run(run())


def test_a_prompt_that_is_refused_for_its_length_does_not_switch_n_off() -> None:
    async def short(host: str, body: dict[str, Any]) -> Response:
        if "long" in str(body["messages"]):
            return refusal(400, "the maximum context length is 512 tokens")
        return await moss(host, body)

    async def run() -> None:
        told = Told(short)
        too_long = [dataclasses.replace(make_request("long", seed=n)) for n in range(3)]
        assert await told.model.complete_many(too_long) is None
        assert await told.model.complete_many(many(3)) is not None

    asyncio.run(run())


def test_fewer_answers_than_asked_for_are_not_used_and_three_such_replies_in_a_row_end_it() -> None:
    async def stingy(host: str, body: dict[str, Any]) -> Response:
        return reply("a", "b")

    async def run() -> None:
        told = Told(stingy)
        for _ in range(4):
            assert told.notices == []
            assert await told.model.complete_many(many(3)) is None
            if len(told.calls) == 4:
                break
        assert "it gave 2 answers" in told.notices[0]
        assert await told.model.complete_many(many(3)) is None and len(told.calls) == 4

    asyncio.run(run())


def test_one_bad_reply_does_not_switch_n_off() -> None:
    async def once_stingy(host: str, body: dict[str, Any]) -> Response:
        return reply("a", "b") if body.get("seed") == 7 else await moss(host, body)

    async def run() -> None:
        told = Told(once_stingy)
        bad = [of_episode("e", 7), *many(2)]
        for _ in range(3):
            assert await told.model.complete_many(bad) is None
            assert await told.model.complete_many(many(3)) is not None
        assert told.notices == []

    asyncio.run(run())


def test_what_is_in_flight_is_counted_in_answers() -> None:
    async def run() -> None:
        running = peak = 0

        async def slow(host: str, body: dict[str, Any]) -> Response:
            nonlocal running, peak
            running += body.get("n", 1)
            peak = max(peak, running)
            await asyncio.sleep(0.005)
            running -= body.get("n", 1)
            return await moss(host, body)

        told = Told(slow, base_urls=[URLS[0]], max_in_flight=8)
        await asyncio.gather(*(told.model.complete_many(many(3, f"e{n}")) for n in range(9)))
        assert peak == 6

    asyncio.run(run())


def test_answers_in_one_call_that_were_cut_off_at_the_end_of_the_tokens_are_told_apart() -> None:
    async def handler(host: str, body: dict[str, Any]) -> Response:
        data = json.loads(reply("<answer>a", "<answer>b").body)
        data["choices"][1]["finish_reason"] = "length"
        return answered(data)

    found = ask_many(Told(handler), many(2))
    assert found is not None
    assert [(c.text, c.finish_reason) for c in found] == [("<answer>a</answer>", "stop"), ("<answer>b", "length")]
