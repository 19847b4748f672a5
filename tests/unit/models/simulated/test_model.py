"""The shipped fake: what it writes parses, depends on nothing but the call, and can be spoiled in every way."""

import asyncio
import json
from typing import get_args

import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.config import MistakeName, SimulatedModel
from pop_selfplay.method.expected_rating import parse_last_rating, parse_ratings
from pop_selfplay.method.parsing import (
    Parsed,
    Rejection,
    parse_answer,
    parse_better,
    parse_evaluation,
    parse_marks,
    parse_proposal,
    parse_rubric,
)
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated import drafts as mistakes
from pop_selfplay.models.simulated.drafts import Draft
from pop_selfplay.models.simulated.server import guess_role
from pop_selfplay.records import Criterion, Message, Role

CRITERIA = [Criterion(name=name, description="d", weight=1, gold="g") for name in ("Dose of the drug", "Side effect", "Season")]
RUBRIC = json.dumps({f"criterion_{n}": criterion.model_dump() for n, criterion in enumerate(CRITERIA, 1)})
ASK = {Role.PROPOSER: "A document.", Role.SOLVER: "A problem?", Role.RUBRIC_WRITER: "A document.", Role.JUDGE: ""}
STOP = {Role.PROPOSER: "</answer>", Role.SOLVER: "</answer>", Role.RUBRIC_WRITER: "</rubric>", Role.JUDGE: "</evaluation>"}


def judging(answer: str = "Moss.") -> str:
    return f"<problem>\nWhy?\n</problem>\n<rubric>\n{RUBRIC}\n</rubric>\n<answer>\n{answer}\n</answer>"


def complete(*requests: ChatRequest, seed: int = 0, malformed_rate: float = 0.0) -> list[Completion]:
    async def run() -> list[Completion]:
        model = SimulatedChatModel(SimulatedModel(seed=seed, malformed_rate=malformed_rate))
        return await asyncio.gather(*map(model.complete, requests))

    return asyncio.run(run())


def asking(role: Role, seed: int) -> ChatRequest:
    return make_request(ASK[role] or judging(), role=role, seed=seed, stop=STOP[role])


def parse(role: Role, text: str) -> object:
    match role:
        case Role.PROPOSER:
            return parse_proposal(text)
        case Role.SOLVER:
            return parse_answer(text)
        case Role.RUBRIC_WRITER:
            return parse_rubric(text)
        case Role.JUDGE:
            return parse_evaluation(text, CRITERIA)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_writes_what_its_parser_accepts(role: Role) -> None:
    for completion in complete(*(asking(role, seed) for seed in range(50))):
        parsed = parse(role, completion.text)
        assert isinstance(parsed, Parsed), completion.text
        assert not parsed.repaired
        assert completion.finish_reason == "stop"
        assert completion.prompt_tokens > 0
        assert completion.generated_tokens > 0


def test_a_text_depends_on_seed_messages_and_request_only() -> None:
    requests = [make_request(text, seed=seed) for text in ("a", "b") for seed in range(5)]
    texts = [completion.text for completion in complete(*requests)]
    assert len(set(texts)) == len(texts)
    assert [completion.text for completion in complete(*reversed(requests))] == texts[::-1]
    assert complete(requests[0], seed=1)[0].text != texts[0]


@pytest.mark.parametrize("role", list(Role))
def test_every_mistake_occurs_and_none_parses(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[str] = set()
    kinds_for = mistakes.kinds_for

    def watched(role: Role) -> tuple[mistakes.Mistake, ...]:
        def watch(mistake: mistakes.Mistake) -> mistakes.Mistake:
            def make(draft: Draft) -> str:
                made.add(mistake.__name__)
                return mistake(draft)

            return make

        return tuple(watch(mistake) for mistake in kinds_for(role))

    monkeypatch.setattr(mistakes, "kinds_for", watched)
    for completion in complete(*(asking(role, seed) for seed in range(200)), malformed_rate=1.0):
        assert isinstance(parse(role, completion.text), Rejection), completion.text
    assert made == {mistake.__name__ for mistake in kinds_for(role)}


def test_the_malformed_rate_is_the_share_that_does_not_parse() -> None:
    completions = complete(*(asking(Role.SOLVER, seed) for seed in range(1000)), malformed_rate=0.2)
    rejected = sum(isinstance(parse_answer(completion.text), Rejection) for completion in completions)
    assert 150 < rejected < 250


def test_ratings_follow_the_answer_and_not_the_seed_or_the_way_of_asking() -> None:
    def ratings(user: str, seed: int) -> dict[str, int]:
        text = complete(make_request(user, role=Role.JUDGE, seed=seed))[0].text
        items = json.loads(text[text.index("{") : text.rindex("}") + 1]).values()
        return {item["name"]: item["rating"] for item in items}

    answers = [f"Answer number {number}." for number in range(60)]
    together = [ratings(judging(answer), seed=1) for answer in answers]
    assert together == [ratings(judging(answer), seed=2) for answer in answers]
    assert {rating for rated in together for rating in rated.values()} == {0, 1, 2}
    assert all(max(rated.values()) - min(rated.values()) <= 1 for rated in together)
    for answer, rated in zip(answers, together, strict=True):
        for criterion in CRITERIA:
            alone = f"<criterion>{criterion.model_dump_json()}</criterion>\n<answer>{answer}</answer>"
            assert ratings(alone, seed=3) == {criterion.name: rated[criterion.name]}


def test_an_untagged_prompt_still_shows_the_judge_its_answer_and_criterion() -> None:
    text = complete(make_request('rate\nAnswer: moss\nCriterion: {"name":"Leaf","gold":"x"}', role=Role.JUDGE))[0].text
    assert isinstance(parse_evaluation(text, [CRITERIA[0].model_copy(update={"name": "Leaf"})]), Parsed)


def test_a_boxed_value_ends_the_answer_where_the_prompt_asks_for_one() -> None:
    parsed = parse_answer(complete(make_request(system="End in \\boxed{}."))[0].text)
    assert isinstance(parsed, Parsed)
    assert parsed.value.count("\\boxed{") == 1


def test_tokens_run_out_at_max_tokens() -> None:
    completion = complete(make_request(max_tokens=5))[0]
    assert (completion.finish_reason, completion.generated_tokens) == ("length", 5)


@pytest.mark.parametrize(
    ("system", "role"),
    [
        ("Reply in <evaluation>; you get a <rubric>.", Role.JUDGE),
        ("You get a <problem> and an <answer>; write a <rubric>.", Role.RUBRIC_WRITER),
        ("Write <problem> and <answer>.", Role.PROPOSER),
        ("Write <answer>.", Role.SOLVER),
        ("", Role.SOLVER),
    ],
)
def test_the_role_is_guessed_from_the_tags_that_the_system_message_names(system: str, role: Role) -> None:
    user = Message(role="user", content="Why?")
    assert guess_role([Message(role="system", content=system), user] if system else [user]) == role


# --- probabilities ----------------------------------------------------------------------------------------------------


def probable(answer: str, *, stop: str = "}", malformed_rate: float = 0.0, seed: int = 0) -> Completion:
    request = make_request(judging(answer), role=Role.JUDGE, seed=seed, stop=stop, top_logprobs=5)
    return complete(request, malformed_rate=malformed_rate)[0]


def test_the_likeliest_rating_is_the_one_of_every_other_mode_and_the_expected_one_is_near_it() -> None:
    for number in range(60):
        answer = f"Answer number {number}."
        (judged,) = complete(make_request(judging(answer), role=Role.JUDGE, stop="</evaluation>"))
        whole = parse_evaluation(judged.text, CRITERIA)
        completion = probable(answer)
        expected = parse_ratings(completion, CRITERIA, 0.9)
        assert isinstance(whole, Parsed) and isinstance(expected, Parsed), completion.text
        assert all(abs(a.rating - b.rating) < 0.6 for a, b in zip(whole.value, expected.value, strict=True))
        assert json.loads(completion.text) == {str(n): rating.rating for n, rating in enumerate(whole.value, 1)}
        assert completion.generated_tokens == len(completion.tokens) < 30


def test_ratings_alone_can_be_malformed_too() -> None:
    for number in range(30):
        completion = probable(f"Answer {number}.", malformed_rate=1.0, seed=number)
        assert isinstance(parse_ratings(completion, CRITERIA, 0.5), Rejection), completion.text


def test_a_prompt_for_one_criterion_gets_one_rating_before_its_stop() -> None:
    completion = probable("Moss.", stop="<evaluation>")
    assert completion.finish_reason == "stop"
    assert isinstance(parse_last_rating(completion, CRITERIA[0], "<evaluation>", 0.5), Parsed)


def test_every_mistake_can_be_asked_for_by_name() -> None:
    assert set(get_args(MistakeName)) == {mistake.__name__ for role in Role for mistake in mistakes.kinds_for(role)}
    model = SimulatedChatModel(SimulatedModel(mistakes={"duplicate_names": 1}))
    for role in Role:
        parsed = parse(role, model.write(asking(role, 0)).text)
        assert isinstance(parsed, Rejection) == (role == Role.RUBRIC_WRITER)


@pytest.mark.parametrize("tag", ["<better_answer>", "<rating_A>"])
def test_a_judge_that_compares_can_be_malformed_too(tag: str) -> None:
    model = SimulatedChatModel(SimulatedModel(malformed_rate=1))
    stop = {"<better_answer>": "</better_answer>", "<rating_A>": "</rating_B>"}[tag]
    shown = "<answer_a>\nMoss.\n</answer_a>\n<answer_b>\nFern.\n</answer_b>"
    for seed in range(30):
        text = model.write(make_request(shown, system=tag, role=Role.JUDGE, seed=seed, stop=stop)).text
        assert isinstance(parse_better(text) if tag == "<better_answer>" else parse_marks(text), Rejection), text
