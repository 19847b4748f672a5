"""Scoring by logprob: one short call, an expected value for each rating, and the same from the journal as from the model."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pop_selfplay.config import Synthesis
from pop_selfplay.domains import load_domain
from pop_selfplay.episode import play as play_episode
from pop_selfplay.episode import rate
from pop_selfplay.errors import DomainError
from pop_selfplay.method.rubric_json import ratings_schema
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.records import Evaluation, Failure, Role, Token
from tests.unit.stages.scripted import DOCUMENT, PROBLEM, RUBRIC, Scripted, candidates, play
from tests.unit.stages.test_stages import everything

Pieces = Callable[[ChatRequest], tuple[Token, ...]]


class Torn(Scripted):
    """A scripted model whose tokens are given."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__(lambda _: "")
        self._pieces = pieces

    async def complete(self, request: ChatRequest) -> Completion:
        self.requests.append(request)
        tokens = self._pieces(request)
        return Completion("".join(token.text for token in tokens), "stop", 10, len(tokens), 0, tokens)


def sure(text: str) -> Token:
    return Token(text, ((text, 0.0),))


def between(low: str, high: str, share: float) -> Token:
    """A rating of which `share` of the probability says `high`."""
    return Token(low, ((low, math.log(1 - share)), (high, math.log(share)), ("x", -9.0)))


def both(dose: Token, effect: Token) -> tuple[Token, ...]:
    return sure('{"1": '), dose, sure(', "2": '), effect, sure("}")


def rated(model: Scripted, journal: Path | str = ":memory:", **settings: Any) -> tuple[Evaluation, ...] | Failure:
    settings = {"scoring": "logprob", "min_valid_share": 0, **settings}
    return play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a", "b"), 1), journal, **settings)


def test_a_score_is_the_weighted_mean_of_expected_ratings_from_one_short_call() -> None:
    model = Torn(lambda _: both(between("1", "2", 0.25), sure("2")))
    found = rated(model)
    assert not isinstance(found, Failure) and len(model.requests) == 2
    assert [rating.rating for rating in found[0].ratings] == pytest.approx([1.25, 2], abs=1e-3)
    assert found[0].score == pytest.approx((3 * 1.25 + 2) / 4, abs=1e-3)
    request = model.requests[0]
    assert (request.stop, request.top_logprobs, request.schema) == ("}", 10, None)
    assert request.max_tokens < 200


def test_the_judge_is_asked_for_as_many_alternatives_as_the_setting_says() -> None:
    model = Torn(lambda _: both(sure("1"), sure("2")))
    rated(model, logprob={"top": 5})
    assert {request.top_logprobs for request in model.requests} == {5}


def test_no_other_role_and_no_other_mode_asks_for_probabilities() -> None:
    model = Scripted(everything)
    play(model, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), scoring="logprob")
    assert {request.role for request in model.requests if request.top_logprobs} == {Role.JUDGE}
    model = Scripted(everything)
    play(model, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"))
    assert not any(request.top_logprobs for request in model.requests)


def test_a_judge_that_would_rather_write_something_else_is_asked_again_and_then_gives_no_score() -> None:
    vague = Token("1", (("1", math.log(0.3)), ("maybe", math.log(0.6))))
    model = Torn(lambda _: both(vague, sure("2")))
    failure = rated(model, judge={"attempts": 3})
    assert isinstance(failure, Failure) and "low_mass" in failure.detail
    assert len(model.requests) == 6
    assert not isinstance(rated(Torn(lambda _: both(vague, sure("2"))), logprob={"min_mass": 0.2}), Failure)


def test_a_left_out_criterion_makes_the_call_invalid_and_it_is_asked_again() -> None:
    model = Torn(lambda r: both(sure("1"), sure("0")) if len(model.requests) > 2 else (sure('{"1": '), sure("2"), sure("}")))
    found = rated(model)
    assert not isinstance(found, Failure) and [e.score for e in found] == [0.75, 0.75]


def test_a_replay_from_the_journal_asks_nobody_and_gives_the_same_ratings(tmp_path: Path) -> None:
    def pieces(request: ChatRequest) -> tuple[Token, ...]:
        share = 0.123456789 + request.seed % 7 / 10
        return both(between("1", "2", share), between("0", "1", share))

    first = rated(Torn(pieces), tmp_path / "run.db")
    again = Torn(pieces)
    assert rated(again, tmp_path / "run.db") == first and again.requests == []


def test_a_schema_for_bare_ratings_goes_with_the_request_and_there_is_no_stop() -> None:
    model = Torn(lambda _: tuple(map(sure, '{"1": 2, "2": 0}')))
    found = rated(model, json_schema=True)
    assert not isinstance(found, Failure) and found[0].score == 1.5
    assert model.requests[0].schema == ratings_schema(2) and model.requests[0].stop == ""
    assert json.dumps(ratings_schema(2)["properties"]) == '{"1": {"enum": [0, 1, 2]}, "2": {"enum": [0, 1, 2]}}'


def test_a_domain_that_asks_for_one_criterion_gets_one_call_for_each() -> None:
    model = Torn(lambda _: (sure(" said"), sure(" gold"), between("1", "2", 0.5), sure("<evaluation>")))
    found = rated(model, domain="pocket")
    assert not isinstance(found, Failure) and len(model.requests) == 4
    assert found[0].score == pytest.approx(1.5, abs=1e-3)
    assert {request.stop for request in model.requests} == {"<evaluation>"}


def test_votes_of_an_expected_value_are_refused() -> None:
    with pytest.raises(ValidationError, match="already are means over all votes"):
        Synthesis.model_validate({"scoring": "logprob", "votes": 3, "judge": {"temperature": 1}})


@pytest.mark.parametrize("places", ["{{problem}} {{answer}}", "{{rubric}} {{criterion}} {{answer}}"])
def test_a_prompt_must_show_either_the_rubric_or_one_criterion(places: str, tmp_path: Path) -> None:
    (tmp_path / "domain.yaml").write_text("description: x", encoding="utf-8")
    for name in ("propose", "solve", "rubric"):
        (tmp_path / f"{name}.md").write_text("<!-- user -->\nx", encoding="utf-8")
    (tmp_path / "rate_logprob.md").write_text(f"<!-- user -->\n{places}", encoding="utf-8")
    with pytest.raises(DomainError, match="a place for either criterion or rubric"):
        load_domain(str(tmp_path))
