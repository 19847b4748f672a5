"""Calls that a server refuses, or fails on: a run never ends well with nothing done, and it can always end."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pop_selfplay.cli import run as run_command
from pop_selfplay.config import SimulatedModel, dump_config, parse_config
from pop_selfplay.journal import Journal
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from tests.integration.runs import simulated_config, write_texts

Fault = Callable[[dict[str, Any]], tuple[int, Any] | None]
DOCUMENTS = 12


@contextmanager
def faulty(fault: Fault) -> Iterator[str]:
    """Serve the simulated model, but for requests in which `fault` finds the status and body to answer with."""

    @web.middleware
    async def before(request: web.Request, handler: Any) -> web.StreamResponse:
        found = fault(json.loads(await request.read())) if request.method == "POST" else None
        if found is None:
            answered: web.StreamResponse = await handler(request)
            return answered
        status, body = found
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=raw, content_type="application/json")

    app = simulated_app(SimulatedChatModel(SimulatedModel()))
    app.middlewares.append(before)
    with serving(app) as base_url:
        yield base_url


def play(tmp_path: Path, base_url: str, *options: str) -> int:
    """Play, or resume, the run in `tmp_path` against a server, and return its exit code."""
    config = simulated_config(write_texts(tmp_path / "texts", DOCUMENTS)).model_dump()
    config["model"] = {"type": "endpoint", "base_url": base_url, "model": "simulated", "patience_s": 0.3}
    (tmp_path / "c.yaml").write_text(dump_config(parse_config(config)), encoding="utf-8")
    return run_command(["run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"), *options])


def episodes(tmp_path: Path) -> dict[str, int]:
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        tally = journal.tally
    return {f"{stage}.{reason}".strip("."): count for (_, stage, reason), count in tally.episodes.items() if count}


def text(body: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in body["messages"])


def words_of(tmp_path: Path, number: int) -> str:
    """Return the first words of a document, which only its own prompts hold."""
    return " ".join((tmp_path / "texts" / f"{number}.txt").read_text(encoding="utf-8").split()[:12])


TOO_LONG = {"error": {"message": "This model's maximum context length is 4096 tokens", "code": 400}}


def test_a_role_that_is_never_answered_ends_the_run_with_2_and_the_servers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty(lambda body: (400, TOO_LONG)) as base_url:
        assert play(tmp_path, base_url) == 2
    said = capsys.readouterr().err
    assert "maximum context length is 4096" in said and "synthesis.*.max_tokens" in said and "proposer" in said
    with faulty(lambda body: None) as base_url:
        assert play(tmp_path, base_url) == 0
    assert episodes(tmp_path) == {"": DOCUMENTS}


def test_one_role_alone_that_is_never_answered_ends_the_run_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def odd(body: dict[str, Any]) -> tuple[int, Any] | None:
        return (400, {"error": {"message": "odd request"}}) if body.get("stop") == ["</rubric>"] else None

    with faulty(odd) as base_url:
        assert play(tmp_path, base_url) == 2
    said = capsys.readouterr().err
    assert "odd request" in said and "rubric writer" in said


def test_refusals_that_run_on_after_good_calls_end_the_run_with_4_and_a_resume_asks_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposed = 0

    def broke(body: dict[str, Any]) -> tuple[int, Any] | None:
        nonlocal proposed
        proposed += "<problem>" in text(body)
        return (400, {"error": {"message": "something went missing"}}) if proposed > 4 else None

    with faulty(broke) as base_url:
        assert play(tmp_path, base_url) == 4
    assert "something went missing" in capsys.readouterr().err
    assert run_command(["status", str(tmp_path / "run")]) == 0
    assert "something went missing" in capsys.readouterr().out.replace("\n", " ")
    with faulty(lambda body: None) as base_url:
        assert play(tmp_path, base_url) == 0
    assert episodes(tmp_path) == {"": DOCUMENTS}
    capsys.readouterr()
    assert run_command(["status", str(tmp_path / "run")]) == 0
    assert "something went missing" not in capsys.readouterr().out


def test_a_server_out_of_credit_ends_the_run_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = 0

    def poor(body: dict[str, Any]) -> tuple[int, Any] | None:
        nonlocal calls
        calls += 1
        return (402, {"error": {"message": "Insufficient credits", "code": 402}}) if calls > 30 else None

    with faulty(poor) as base_url:
        assert play(tmp_path, base_url) == 4
    assert "Insufficient credits" in capsys.readouterr().err and calls < 60


def test_a_few_documents_that_are_too_long_end_no_run_and_no_resume(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts", DOCUMENTS)
    long = [words_of(tmp_path, number) for number in range(3)]
    asked = 0

    def short(body: dict[str, Any]) -> tuple[int, Any] | None:
        nonlocal asked
        asked += 1
        return (400, TOO_LONG) if any(words in text(body) for words in long) else None

    with faulty(short) as base_url:
        assert play(tmp_path, base_url) == 0
        first = asked
        assert play(tmp_path, base_url) == 0
    assert episodes(tmp_path) == {"": DOCUMENTS - 3, "proposer.refused": 3}
    assert asked == first + 3, "a resume asks them again, and nothing else"


@pytest.mark.parametrize(
    "poison",
    [
        (500, {"error": {"message": "cannot tokenise"}}),
        (200, {"error": {"message": "cannot tokenise"}}),
        (200, b"cannot tokenise"),
    ],
    ids=["status", "error body", "unreadable"],
)
def test_a_document_on_which_the_server_always_fails_is_dropped_alone_and_for_good(
    tmp_path: Path, poison: tuple[int, Any]
) -> None:
    write_texts(tmp_path / "texts", DOCUMENTS)
    words, asked = words_of(tmp_path, 3), 0

    def poisoned(body: dict[str, Any]) -> tuple[int, Any] | None:
        nonlocal asked
        asked += words in text(body)
        return poison if words in text(body) else None

    with faulty(poisoned) as base_url:
        assert play(tmp_path, base_url) == 0
        first = asked
        assert play(tmp_path, base_url) == 0
    assert episodes(tmp_path) == {"": DOCUMENTS - 1, "proposer.broken": 1}
    assert first > 1 and asked == first


def test_a_call_that_is_broken_in_the_middle_of_an_episode_is_not_waited_for_again(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts", DOCUMENTS)
    words = words_of(tmp_path, 3)

    def poisoned(body: dict[str, Any]) -> tuple[int, Any] | None:
        if words in text(body) and body.get("stop") == ["</rubric>"]:
            return 500, {"error": {"message": "cannot tokenise"}}
        return None

    with faulty(poisoned) as base_url:
        assert play(tmp_path, base_url) == 0
    assert episodes(tmp_path) == {"": DOCUMENTS - 1, "rubric_writer.broken": 1}
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        assert len(journal.noted_under("broken/")) == 1


def test_a_server_that_fails_on_everything_is_down_and_nothing_is_dropped(tmp_path: Path) -> None:
    with faulty(lambda body: (500, {"error": {"message": "out of memory"}})) as base_url:
        assert play(tmp_path, base_url) == 4
    assert episodes(tmp_path) == {}


def test_a_system_message_that_is_refused_and_parameters_that_are_cost_nothing(tmp_path: Path) -> None:
    def picky(body: dict[str, Any]) -> tuple[int, Any] | None:
        if body["messages"][0]["role"] == "system":
            return 400, {"object": "error", "message": "System role not supported"}
        for name in ("max_tokens", "seed"):
            if name in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}' is not supported", "param": name}}
        return (
            (400, {"error": {"message": "'temperature' must be 1", "param": "temperature"}})
            if body.get("temperature") == 0
            else None
        )

    with faulty(picky) as base_url:
        assert play(tmp_path, base_url) == 0
    assert sum(episodes(tmp_path).values()) == DOCUMENTS and "proposer.refused" not in episodes(tmp_path)


def test_a_training_without_pairs_names_what_the_episodes_were_lost_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"choices": [{"message": {"content": "I would rather not."}, "finish_reason": "stop"}]}
    with faulty(lambda body: (200, empty)) as base_url:
        assert play(tmp_path, base_url, "--set", "training.type=dpo", "--set", "model.weights=weights") == 3
    said = capsys.readouterr().err
    assert (
        f"{DOCUMENTS} of {DOCUMENTS} episodes ended without scores (proposer.no_tag {DOCUMENTS})" in said
        and "min_std" not in said
    )


@pytest.mark.parametrize(
    ("answer", "settings", "words"),
    [
        ("I would rather not.", [], [f"proposer.no_tag {DOCUMENTS}", "play the proposer by a model"]),
        ("<think>Hm", [], ["proposer.unclosed_reasoning", "synthesis.proposer.max_tokens"]),
        (None, ["--set", "pairing.min_std=50"], ["pair.no_spread", "lower pairing.min_std"]),
    ],
    ids=["nothing parsed", "open reasoning", "scores, but no pairs"],
)
def test_a_synthesis_without_pairs_ends_with_3_and_the_cause_at_every_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str | None, settings: list[str], words: list[str]
) -> None:
    reply = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
    with faulty(lambda body: None if answer is None else (200, reply)) as base_url:
        assert play(tmp_path, base_url, *settings) == 3
        said = capsys.readouterr().err
        assert "no preference pairs" in said and all(word in said for word in words), said
        for command in ("run", "synth"):
            assert run_command([command, str(tmp_path / "run")]) == 3, "nothing is left to play"
            assert words[0] in capsys.readouterr().err
    assert (tmp_path / "run" / "result.json").is_file()
