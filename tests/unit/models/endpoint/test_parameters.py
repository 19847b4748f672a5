"""Parameters that a server does not take: configured, and found out."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.unit.models.makers import make_request
from tests.unit.models.test_endpoint import refusal, reply

from pop_selfplay.config import EndpointModel, RoleThinking, Thinking
from pop_selfplay.errors import ModelRefused, RequestRefused
from pop_selfplay.method.parsing import answer_form, grammar
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.models.endpoint.errors import Kind, read_error
from pop_selfplay.models.endpoint.http import Response
from pop_selfplay.records import Role

REQUEST = make_request(system="Be brief.", stop="</answer>")
Picky = Callable[[dict[str, Any]], str | None]


class Server:
    """A server that refuses what `picky` finds fault with."""

    def __init__(self, picky: Picky, **config: Any) -> None:
        self.says = "<answer>moss"
        self.picky, self.bodies, self.notices = picky, list[dict[str, Any]](), list[str]()
        self.config = EndpointModel(base_url="http://server.test/v1", model="small", patience_s=0, **config)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        self.bodies.append(json.loads(body))
        fault = self.picky(self.bodies[-1])
        return reply(self.says) if fault is None else refusal(400, fault)

    def ask(self, *requests: ChatRequest) -> list[Completion]:
        async def run() -> list[Completion]:
            model = EndpointChatModel(self.config, send=self.send, notice=self.notices.append)
            try:
                return [await model.complete(request) for request in requests]
            finally:
                await model.close()

        return asyncio.run(run())


def refusing(name: str, words: str = "Unsupported parameter: '{}' is not supported with this model.") -> Picky:
    return lambda body: words.format(name) if name in body else None


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed"])
def test_a_parameter_that_the_server_refuses_is_left_out_from_then_on_and_told_once(name: str) -> None:
    server = Server(refusing(name))
    answers = server.ask(REQUEST, REQUEST)
    assert [answer.text for answer in answers] == ["<answer>moss</answer>"] * 2
    assert [name in body for body in server.bodies] == [True, False, False]
    assert len(server.notices) == 1 and f"does not take {name}" in server.notices[0] and "is not supported" in server.notices[0]


def test_without_a_stop_tag_the_answer_is_cut_off_here() -> None:
    server = Server(refusing("stop"))
    server.says = "<think>\n<answer>a</answer>\n</think>\n\n<answer>moss</answer> and <answer>more"
    (answer,) = server.ask(REQUEST)
    assert answer.text.endswith("<answer>moss</answer>") and "does not take stop" in server.notices[0]


def test_max_tokens_goes_by_its_other_name_where_the_server_wants_that() -> None:
    server = Server(refusing("max_tokens"))
    server.ask(REQUEST, REQUEST)
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 4096, 4096]
    assert len(server.notices) == 1


def test_several_parameters_are_found_out_one_after_the_other() -> None:
    names = ("max_tokens", "temperature", "seed")
    server = Server(lambda body: next((f"'{n}' is not supported" for n in names if n in body), None))
    server.ask(REQUEST)
    assert len(server.bodies) == 4 and len(server.notices) == 3


def test_only_the_values_that_are_refused_teach() -> None:
    only_1 = "'temperature' does not support {} with this model. Only the default (1) value is supported."
    server = Server(lambda body: only_1 if body.get("temperature", 1) != 1 else None)
    server.ask(REQUEST)
    assert server.notices == []
    server.ask(REQUEST, dataclasses.replace(REQUEST, temperature=0.0))
    assert len(server.notices) == 1


def test_a_system_message_that_is_refused_goes_in_front_of_the_users() -> None:
    server = Server(lambda body: "System role not supported" if body["messages"][0]["role"] == "system" else None)
    server.ask(REQUEST, REQUEST)
    assert [len(body["messages"]) for body in server.bodies] == [2, 1, 1]
    assert server.bodies[-1]["messages"][0]["content"] == "Be brief.\n\nWhy is moss green?"
    assert len(server.notices) == 1


@pytest.mark.parametrize(
    "words", ["Jinja Exception: System role not supported", "Unknown role: system", "Invalid role 'system'"]
)
def test_a_template_that_raises_behind_status_500_is_asked_once_more_without_the_system_role(words: str) -> None:
    error = read_error(refusal(500, words), {"messages": []})
    assert error is not None and error.kind is Kind.SYSTEM_ROLE


def test_what_the_config_says_is_sent_so_from_the_start() -> None:
    server = Server(lambda _: None, omit=["seed"], rename={"max_tokens": "num_predict"}, extra_body={"top_k": 4, "top_p": 0.5})
    server.ask(REQUEST)
    (body,) = server.bodies
    assert "seed" not in body and "max_tokens" not in body
    assert (body["num_predict"], body["top_k"], body["top_p"]) == (4096, 4, 0.5)


def test_a_parameter_that_the_mode_needs_is_not_left_out_but_named_with_its_setting() -> None:
    schema = dataclasses.replace(REQUEST, schema={"type": "object"})
    with pytest.raises(ModelRefused, match=r"not supported.*synthesis\.json_schema"):
        Server(refusing("response_format")).ask(schema)
    with pytest.raises(ModelRefused, match=r"not supported.*synthesis\.logprob\.top"):
        Server(refusing("logprobs")).ask(dataclasses.replace(REQUEST, top_logprobs=5))


def test_a_field_of_extra_body_that_is_refused_is_named() -> None:
    with pytest.raises(RequestRefused, match=r"model\.extra_body sets top_k"):
        Server(refusing("top_k"), extra_body={"top_k": 4}).ask(REQUEST)


def test_a_parameter_that_stays_refused_under_both_names_ends_with_the_words_and_the_setting() -> None:
    picky: Picky = lambda body: "'max_tokens' and 'max_completion_tokens' are not supported" if "messages" in body else None  # noqa: E731
    with pytest.raises(RequestRefused, match=r"are not supported.*model\.rename"):
        Server(picky).ask(REQUEST)


# --- grammars ---------------------------------------------------------------------------------------------------------


SAID = "constrained by a grammar"


def constrained(server: Server, *requests: ChatRequest) -> tuple[list[bool], list[Completion]]:
    async def run() -> tuple[list[bool], list[Completion]]:
        model = EndpointChatModel(server.config, send=server.send, notice=server.notices.append)
        try:
            found = await asyncio.gather(*(model.constrains(role) for role in Role))
            return found, [await model.complete(request) for request in requests]
        finally:
            await model.close()

    return asyncio.run(run())


FORMED = dataclasses.replace(REQUEST, form=answer_form(boxed=False))


def honouring(field: str) -> Server:
    """A server that heeds a grammar in `field` alone, and ignores all others."""
    server = Server(lambda body: None)
    plain = server.send

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        server.says = SAID if field in json.loads(body) else "moss fern lichen"
        return await plain(url, headers, body)

    server.send = send  # type: ignore[method-assign]
    return server


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("structured_outputs", {"structured_outputs": {"grammar": grammar(answer_form(boxed=False))}}),
        ("grammar", {"grammar": grammar(answer_form(boxed=False))}),
        ("ebnf", {"ebnf": grammar(answer_form(boxed=False))}),
        ("guided_grammar", {"guided_grammar": grammar(answer_form(boxed=False))}),
    ],
)
def test_the_field_in_which_a_server_heeds_a_grammar_is_found_by_trying_once(field: str, sent: dict[str, Any]) -> None:
    server = honouring(field)
    found, _ = constrained(server, FORMED, REQUEST)
    assert found == [True] * 4
    *_, formed, plain = server.bodies
    assert {name: formed.get(name) for name in sent} == sent and formed["stop"] == ["</answer>"]
    assert not {"structured_outputs", "grammar", "ebnf", "guided_grammar"} & plain.keys()
    assert len(server.notices) == 1 and f"decodes by a grammar ({field})" in server.notices[0]


def test_a_grammar_is_sent_also_where_nobody_asked_whether_it_is_heeded() -> None:
    """A resumed run remembers that the server heeds grammars, and asks for answers at once."""
    server = honouring("grammar")
    server.ask(FORMED)
    assert server.bodies[-1]["grammar"] == grammar(answer_form(boxed=False))


def test_a_server_that_ignores_every_grammar_is_told_of_once() -> None:
    server = honouring("none of them")
    assert constrained(server)[0] == [False] * 4
    assert len(server.bodies) == 4
    (notice,) = server.notices
    assert "does not decode by a grammar (tried structured_outputs, grammar, ebnf, guided_grammar)" in notice


def test_a_server_that_refuses_grammars_takes_none() -> None:
    fields = ("structured_outputs", "grammar", "ebnf", "guided_grammar")
    server = Server(lambda body: next((f"Unknown parameter: '{field}'." for field in fields if field in body), None))
    assert constrained(server)[0] == [False] * 4 and len(server.notices) == 1


def test_a_role_that_thinks_aloud_is_not_constrained() -> None:
    server = honouring("grammar")
    server.config = server.config.changed({"thinking": Thinking(roles={Role.SOLVER: RoleThinking(enabled=True)})})
    found, _ = constrained(server)
    assert dict(zip(Role, found, strict=True)) == {role: role is not Role.SOLVER for role in Role}


def test_an_api_without_grammars_is_not_tried() -> None:
    server = Server(lambda body: None, dialect="anthropic")
    assert constrained(server)[0] == [False] * 4 and server.bodies == []
