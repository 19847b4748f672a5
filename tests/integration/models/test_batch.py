"""Batches, against a stand-in for the providers' batch APIs: sent once, taken up after a kill, and without them one by one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.models.batch_server import BatchServer
from tests.unit.models.makers import make_request

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused
from pop_selfplay.models import open_model
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion
from pop_selfplay.models.simulated.server import listening

REQUESTS = [make_request(f"Question {n}", system="Be brief.", stop="</answer>", seed=n) for n in range(5)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pop_selfplay.models.endpoint.batch._QUIET_S", 0.01)


def openai(body: dict[str, Any]) -> tuple[int, Any]:
    said = body["messages"][-1]["content"]
    choice = {"message": {"content": f"<answer>{said}"}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def anthropic(body: dict[str, Any]) -> tuple[int, Any]:
    assert body["system"] == "Be brief." and body["stop_sequences"] == ["</answer>"] and "seed" not in body
    content = [{"type": "text", "text": f"<answer>{body['messages'][0]['content']}"}]
    usage = {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 3}
    return 200, {
        "type": "message",
        "content": content,
        "stop_reason": "stop_sequence",
        "stop_sequence": "</answer>",
        "usage": usage,
    }


class Told:
    """A model that sends batches to `server`, and what it told its user."""

    def __init__(self, model: ChatModel, notices: list[str]) -> None:
        self.model, self.notices = model, notices

    async def ask(self, requests: Sequence[ChatRequest] = REQUESTS) -> list[Completion]:
        return await asyncio.gather(*(self.model.complete(request) for request in requests))


@asynccontextmanager
async def opened(base_url: str, folder: Path | None = None, **settings: Any) -> AsyncIterator[Told]:
    notices = list[str]()
    config = {"base_url": base_url, "model": "small", "batch": True, "batch_poll_s": 0.01, "patience_s": 1, **settings}
    model = open_model(EndpointModel.model_validate(config), notice=notices.append, folder=folder)
    try:
        yield Told(model, notices)
    finally:
        await model.close()


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_all_calls_of_a_stage_go_as_one_batch_and_every_caller_gets_its_own_answer(dialect: str) -> None:
    async def run() -> None:
        server = BatchServer(openai if dialect == "openai" else anthropic)
        server.released.set()
        async with listening(server.app()) as base_url, opened(base_url, dialect=dialect) as told:
            found = await told.ask()
        assert [completion.text for completion in found] == [f"<answer>Question {n}</answer>" for n in range(5)]
        assert (found[0].prompt_tokens, found[0].generated_tokens) == (7, 3)
        assert found[0].cached_tokens == (3 if dialect == "anthropic" else 0)
        assert [len(batch) for batch in server.batches.values()] == [5] and server.single == 0

    asyncio.run(run())


def test_a_run_that_is_killed_takes_up_its_batch_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    async def run() -> None:
        server = BatchServer(openai)
        async with listening(server.app()) as base_url:
            async with opened(base_url, tmp_path) as told:
                asking = asyncio.create_task(told.ask())
                while not list(tmp_path.glob("batch-*.json")):
                    await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            server.released.set()
            async with opened(base_url, tmp_path) as told:
                found = await told.ask()
                assert told.notices == ["batch batch_0 of 5 calls is resumed"]
        assert len(found) == 5 and len(server.batches) == 1 and server.single == 0
        assert list(tmp_path.glob("batch-*")) == []

    asyncio.run(run())


@pytest.mark.parametrize("settings", [{"dialect": "anthropic"}, {"omit": ["seed"]}])
def test_answers_to_the_same_problem_are_calls_of_their_own_where_the_server_takes_no_seed(settings: dict[str, Any]) -> None:
    numbers = iter(range(100))

    def counting(body: dict[str, Any]) -> tuple[int, Any]:
        status, reply = (anthropic if "dialect" in settings else openai)(body)
        text = f"<answer>{next(numbers)}"
        reply["choices" if "choices" in reply else "content"] = (
            [{"message": {"content": text}, "finish_reason": "stop"}]
            if "choices" in reply
            else [{"type": "text", "text": text}]
        )
        return status, reply

    async def run() -> None:
        server = BatchServer(counting)
        server.released.set()
        requests = [make_request("One question", system="Be brief.", stop="</answer>", seed=seed) for seed in range(4)]
        async with listening(server.app()) as base_url, opened(base_url, **settings) as told:
            found = await told.ask(requests)
            again = await told.ask([make_request("One question", system="Be brief.", stop="</answer>", seed=4)])
        assert len({completion.text for completion in [*found, *again]}) == 5
        assert [len(batch) for batch in server.batches.values()] == [4, 1]

    asyncio.run(run())


def test_what_was_learned_about_parameters_loses_no_batch(tmp_path: Path) -> None:
    def picky(body: dict[str, Any]) -> tuple[int, Any]:
        return (400, {"error": {"message": "'seed' is not supported"}}) if "seed" in body else openai(body)

    async def run() -> None:
        server = BatchServer(picky)
        another = [make_request(f"Another {n}", stop="</answer>", seed=n) for n in range(3)]
        async with listening(server.app()) as base_url:
            async with opened(base_url, tmp_path) as told:
                server.released.set()
                await told.ask()  # from now on without a seed
                server.released.clear()
                asking = asyncio.create_task(told.ask(another))
                while not list(tmp_path.glob("batch-*.json"))[1:]:
                    await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            sent, single = len(server.batches), server.single
            server.released.set()
            async with opened(base_url, tmp_path) as told:
                assert [completion.text for completion in await told.ask(another)] == [
                    f"<answer>Another {n}</answer>" for n in range(3)
                ]
        assert (len(server.batches), server.single) == (sent, single)

    asyncio.run(run())


@pytest.mark.parametrize("breaks", ["submit", "results"])
def test_nobody_waits_for_a_batch_that_failed_in_a_way_nobody_expected(breaks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("whatever")

    monkeypatch.setattr(f"pop_selfplay.models.endpoint.batch._OpenAi.{breaks}", broken)

    async def run() -> None:
        async with listening(BatchServer(openai).app()) as base_url, opened(base_url) as told:
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(told.ask(), 10)

    asyncio.run(run())


def test_a_batch_that_cannot_be_written_down_is_answered_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def run() -> None:
        server = BatchServer(openai)
        server.released.set()
        async with listening(server.app()) as base_url, opened(base_url, tmp_path / "file" / "servers") as told:
            assert len(await told.ask()) == 5 and server.single == 0
            assert any("cannot be written down" in notice for notice in told.notices)

    asyncio.run(run())


def test_a_batch_that_the_server_has_lost_is_asked_one_by_one(tmp_path: Path) -> None:
    async def run() -> None:
        server = BatchServer(openai)
        async with listening(server.app()) as base_url:
            async with opened(base_url, tmp_path) as told:
                asking = asyncio.create_task(told.ask())
                while not list(tmp_path.glob("batch-*.json")):
                    await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            server.batches.clear()
            async with opened(base_url, tmp_path) as told:
                assert len(await told.ask()) == 5
                assert any("is lost" in notice for notice in told.notices)
        assert server.single == 5

    asyncio.run(run())


def test_what_a_batch_does_not_answer_is_asked_by_itself() -> None:
    tried = 0

    def sometimes(body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal tried
        if body["messages"][-1]["content"] == "Question 3":
            tried += 1
            return openai(body) if tried > 1 else (500, {"error": {"message": "oops"}})
        return openai(body)

    async def run() -> None:
        server = BatchServer(sometimes)
        server.released.set()
        async with listening(server.app()) as base_url, opened(base_url) as told:
            assert len(await told.ask()) == 5
            assert any("left 1 of 5 calls unanswered" in notice for notice in told.notices)
        assert server.single == 1

    asyncio.run(run())


def test_a_server_without_batches_is_asked_one_by_one_and_the_user_is_told() -> None:
    async def run() -> None:
        server = BatchServer(openai, has_batches=False)
        async with listening(server.app()) as base_url, opened(base_url) as told:
            assert len(await told.ask()) == 5
            assert len(told.notices) == 1 and "one by one" in told.notices[0]
        assert server.single == 5

    asyncio.run(run())


def test_a_judge_by_messages_answers_single_calls_natively() -> None:
    async def run() -> None:
        server = BatchServer(anthropic)
        async with listening(server.app()) as base_url, opened(base_url, dialect="anthropic", batch=False) as told:
            first, *_ = await told.ask()
            assert first.text == "<answer>Question 0</answer>"
        assert server.single == 5

    asyncio.run(run())


def test_probabilities_are_refused_natively_with_the_setting() -> None:
    def picky(body: dict[str, Any]) -> tuple[int, Any]:
        words = "top_logprobs: Extra inputs are not permitted"
        return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}

    async def run() -> None:
        async with listening(BatchServer(picky).app()) as base_url, opened(base_url, dialect="anthropic", batch=False) as told:
            with pytest.raises(ModelRefused, match=r"synthesis\.scoring logprob"):
                await told.model.complete(make_request(top_logprobs=5))

    asyncio.run(run())


def test_a_parameter_that_failed_a_batch_is_not_in_the_next_one() -> None:
    def picky(body: dict[str, Any]) -> tuple[int, Any]:
        return (400, {"error": {"message": "'seed' is not supported"}}) if "seed" in body else openai(body)

    async def run() -> None:
        server = BatchServer(picky)
        server.released.set()
        async with listening(server.app()) as base_url, opened(base_url) as told:
            assert len(await told.ask()) == 5
            assert server.single >= 5 and sum("does not take seed" in notice for notice in told.notices) == 1
            singles = server.single
            again = await told.model.complete(make_request("Another", stop="</answer>"))
        assert again.text == "<answer>Another</answer>" and server.single == singles

    asyncio.run(run())
