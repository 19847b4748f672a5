"""Reasoning models: told to think or not, and drafts within the reasoning are no answers."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models.makers import make_request
from tests.unit.models.test_endpoint import reply

from pop_selfplay.config import EndpointModel
from pop_selfplay.method.parsing import Rejection, parse_answer
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.chat_template import template_opens_reasoning
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.endpoint.http import Response
from pop_selfplay.records import Role

DRAFT = "Okay. Maybe <answer>a first draft</answer> hm, that is wrong"
LEFT = "Okay. Maybe <answer>a draft</answer>, no.\n</think>\n\n<answer>moss</answer> and so on"
REQUEST = make_request(stop="</answer>")
R1 = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<Assistant><think>\n{% endif %}"


def ask(
    *contents: str,
    request: ChatRequest = REQUEST,
    opens_reasoning: bool = False,
    base_url: str = "http://server.test/v1",
    **config: Any,
) -> tuple[list[Completion], list[dict[str, Any]]]:
    """Return the completions of a server that says `contents`, one after the other, and the bodies it got."""
    said, bodies = list(contents), list[dict[str, Any]]()

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        bodies.append(json.loads(body))
        if "messages" in url:
            return Response(200, {}, json.dumps({"content": [{"type": "text", "text": said.pop(0)}]}).encode())
        return reply(said.pop(0))

    async def run() -> list[Completion]:
        settings = EndpointModel.model_validate({"base_url": base_url, "model": "m", **config})
        model = EndpointChatModel(settings, send=send, notice=lambda _: None, opens_reasoning=opens_reasoning)
        try:
            return [await model.complete(request) for _ in contents]
        finally:
            await model.close()

    return asyncio.run(run()), bodies


def reason(completion: Completion) -> str:
    parsed = parse_answer(completion.text)
    return parsed.reason if isinstance(parsed, Rejection) else ""


@pytest.mark.parametrize("how", [{"opens_reasoning": True}, {"thinking": {"enabled": True}}], ids=["template", "setting"])
def test_a_draft_within_reasoning_that_the_prompt_opened_is_no_answer(how: dict[str, Any]) -> None:
    (draft, left), bodies = ask(DRAFT, LEFT, **how)
    assert reason(draft) == "unclosed_reasoning"
    assert left.text.endswith("<answer>moss</answer>") and reason(left) == ""
    assert all("stop" not in body for body in bodies), "a stop tag would end the reasoning at its draft"


def test_that_the_prompt_opens_the_reasoning_is_learnt_from_the_first_answer_that_leaves_it() -> None:
    (left, draft), bodies = ask(LEFT, DRAFT)
    assert ["stop" in body for body in bodies] == [True, False]
    assert reason(draft) == "unclosed_reasoning"
    assert "moss" in left.text


def test_reasoning_that_a_parser_split_off_is_whole() -> None:
    (whole,), _ = ask("<think>\nhm\n</think>\n\n<answer>moss</answer>", thinking={"enabled": True})
    assert reason(whole) == ""


@pytest.mark.parametrize(
    ("base_url", "thinking", "sent"),
    [
        ("http://server.test/v1", {"enabled": False}, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        ("https://api.openai.com/v1", {"enabled": True, "budget": 512}, {"reasoning_effort": "low"}),
        ("https://api.openai.com/v1", {"enabled": False}, {"reasoning_effort": "minimal"}),
        ("http://localhost:11434/v1", {"budget": 9000}, {"reasoning_effort": "high"}),
        ("http://localhost:11434/v1", {"enabled": False}, {"reasoning_effort": "none"}),
        ("https://openrouter.ai/api/v1", {"enabled": True, "budget": 99}, {"reasoning": {"enabled": True, "max_tokens": 99}}),
        (
            "https://api.anthropic.com/v1",
            {"budget": 2000},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 6096},
        ),
    ],
)
def test_every_server_is_told_in_its_own_way(base_url: str, thinking: dict[str, Any], sent: dict[str, Any]) -> None:
    _, (body,) = ask("<think>\n</think>\n\n<answer>moss", base_url=base_url, thinking=thinking)
    assert sent.items() <= body.items()


def test_a_budget_alone_makes_a_model_think_so_that_no_stop_ends_its_draft() -> None:
    for thinking, stops in (({"budget": 64}, False), ({"enabled": False, "budget": 64}, True), ({"enabled": True}, False)):
        _, (body,) = ask("<think>\n</think>\n\n<answer>moss", base_url="http://server.test/v1", thinking=thinking)
        assert ("stop" in body) == stops


def test_a_role_has_its_own_thinking_and_without_the_setting_nothing_is_sent() -> None:
    thinking = {"enabled": False, "roles": {"judge": {"enabled": True}}}
    _, (body,) = ask("<think>\n</think>\n\nmoss", request=make_request(role=Role.JUDGE), thinking=thinking)
    assert body["chat_template_kwargs"]["enable_thinking"] is True
    _, (body,) = ask("moss")
    assert body.keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop"}


def test_a_template_that_opens_the_reasoning_is_known_by_rendering_it(tmp_path: Path) -> None:
    assert not template_opens_reasoning(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": R1}), encoding="utf-8")
    assert template_opens_reasoning(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(R1.replace("<think>\n", "<think>\n\n</think>\n\n"), encoding="utf-8")
    assert not template_opens_reasoning(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ broken", encoding="utf-8")
    assert not template_opens_reasoning(tmp_path)
