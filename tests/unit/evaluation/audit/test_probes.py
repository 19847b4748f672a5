"""What the audit plays, role by role: who sees the document, what is asked again, and in which orders."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evaluation.audit.makers import RUBRIC, MakeRound, fair, quality_of, scored
from tests.unit.stages.scripted import Scripted

from pop_selfplay.config import SimulatedModel
from pop_selfplay.evaluation.audit.probes import Played, play
from pop_selfplay.evaluation.audit.sample import FIXED_RUBRIC, AuditedRound, Options, Scored, SecondOpinion, second_judge
from pop_selfplay.journal import Journal
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Document, Role
from pop_selfplay.runs.casting import Casting


def write(request: ChatRequest) -> str:
    """Play every role; the judge rates by the hidden quality, and prefers whatever stands first."""
    asked = request.messages[-1].content
    if request.role is Role.PROPOSER:
        return "<problem>What helps?</problem><answer>Sleep does.</answer>"
    if request.role is Role.RUBRIC_WRITER:
        rubric = {"criterion_1": {"name": "sleep", "gold": "eight hours", "description": "names sleep", "weight": 1}}
        return f"<rubric>{json.dumps(rubric)}</rubric>"
    if "rate both" in asked:
        return "<rating_A>7</rating_A><rating_B>4</rating_B>"
    if "<answer_a>" in asked:
        return "<better_answer>A</better_answer>"
    by_criterion = between(asked, "criterion") if "<rubric>" not in asked else ""
    criteria = [json.loads(by_criterion)] if by_criterion else json.loads(between(asked, "rubric")).values()
    answer = between(asked, "answer")
    rating = min(2, int(3 * quality_of(answer))) if answer.startswith("q") else 1
    items = {f"criterion_{n}": {"name": c["name"], "thoughts": "", "rating": rating} for n, c in enumerate(criteria)}
    return f"<evaluation>{json.dumps(items)}</evaluation>"


def between(text: str, tag: str) -> str:
    """Return what stands in the last `tag` of `text`."""
    return text.split(f"<{tag}>")[-1].split(f"</{tag}>")[0].strip()


def titled(made: list[Scored]) -> list[Scored]:
    """Return the problems with documents that have titles."""
    return [Scored(one.episode, Document(id=one.document.id, text=one.document.text, title="Valerian")) for one in made]


def casting(looked_at: AuditedRound, journal: Journal) -> Casting:
    return looked_at.session.casting.copy(journal=journal)


def played(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch, made: list[Scored], options: Options | None = None, **config: Any
) -> tuple[Played, Scripted, AuditedRound]:
    """Play everything with the scripted model in all roles."""
    model = Scripted(write)
    monkeypatch.setattr("pop_selfplay.runs.casting.open_model", lambda *_, **__: model)
    base = audited(made, **config)
    looked_at = AuditedRound(base.session, options or Options(), base.round, base.scored)
    with Journal.open(Path(":memory:")) as journal:
        return play(looked_at, casting(looked_at, journal)), model, looked_at


def shown(model: Scripted, role: Role) -> list[str]:
    return ["\n".join(message.content for message in r.messages) for r in model.requests if r.role is role]


@pytest.mark.parametrize("own", [["proposer", "rubric_writer"], ["proposer"]])
def test_the_other_rubric_sees_what_the_runs_own_did_not(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch, own: list[str]
) -> None:
    made = scored(fair, problems=3)
    found, model, _ = played(audited, monkeypatch, made, synthesis={"document_for": own})
    hidden = "rubric_writer" in own
    for one in made:
        assert any(one.document.text in text for text in shown(model, Role.RUBRIC_WRITER)) is not hidden
        assert any("two drops" in text for text in shown(model, Role.RUBRIC_WRITER)) is not hidden  # the reference answer
        assert found.rubrics[one.id].rubric.criteria[0].name == "sleep"
        assert found.rubrics[one.id].scores.keys() == one.scores.keys()


def test_the_judge_of_the_run_never_sees_a_document(audited: MakeRound, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored(fair, problems=3)
    _, model, _ = played(audited, monkeypatch, made, Options(modes=("anchor",)))
    assert not any(one.document.text in text for one in made for text in shown(model, Role.JUDGE))


def test_problems_are_made_without_the_document_and_without_even_its_title(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, model, _ = played(audited, monkeypatch, titled(scored(fair, problems=3)))
    assert {name: len(problems) for name, problems in found.proposals.items()} == {
        "without document": 3,
        "without document and title": 3,
    }
    prompts = shown(model, Role.PROPOSER)
    assert len(prompts) == 6 and sum("Valerian" in text for text in prompts) == 3
    assert len({r.seed for r in model.requests if r.role is Role.PROPOSER}) == 6  # equal prompts, other samples


def test_the_judge_is_asked_again_twice_greedily_and_once_at_temperature_1(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scored(fair, problems=2, candidates=12)
    found, model, _ = played(audited, monkeypatch, made)
    repeats = Counter(
        (r.group.split("/")[1].removeprefix("repeats "), r.temperature)
        for r in model.requests
        if r.role is Role.JUDGE and "/repeats " in r.group
    )
    assert repeats == {("greedy", 0.0): 16, ("greedy again", 0.0): 16, ("sampled", 1.0): 16}  # 8 of 12, spread over length
    assert all(len(scores) == 8 for by_problem in found.repeats.values() for scores in by_problem.values())
    seeds = [r.seed for r in model.requests if "/repeats " in r.group]
    assert len(set(seeds)) == len(seeds)


def test_two_answers_are_shown_in_both_orders(audited: MakeRound, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored(fair, problems=2)
    found, model, _ = played(audited, monkeypatch, made)
    compared = [text for text in shown(model, Role.JUDGE) if "</answer_a>" in text]
    sides = {(between(text, "answer_a"), between(text, "answer_b")) for text in compared}
    assert len(compared) == 12 and {(b, a) for a, b in sides} == sides
    assert all((order.first, order.swapped) == ("A", "A") for orders in found.orders.values() for order in orders)
    assert all(len(orders) == 3 for orders in found.orders.values())


def test_a_run_that_does_not_score_pointwise_is_compared_with_pointwise(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scored(fair, problems=2)
    options = Options(modes=("per_criterion",))
    found, _, _ = played(audited, monkeypatch, made, options, synthesis={"scoring": "per_criterion"})
    assert list(found.modes) == ["pointwise", "per_criterion"]
    assert found.modes["per_criterion"] == {one.id: one.scores for one in made}
    assert all(scores.keys() == made[0].scores.keys() for scores in found.modes["pointwise"].values())


def test_what_cannot_be_played_has_its_reason(audited: MakeRound, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored(fair, problems=2)
    found, model, _ = played(audited, monkeypatch, made, synthesis={"document_for": []})
    assert "without documents" in found.unplayable["rubrics"] and "--modes" in found.unplayable["modes"]
    assert list(found.proposals) == ["with document"]
    unplayed, model, _ = played(audited, monkeypatch, made, Options(play=False))
    assert model.requests == [] and set(unplayed.unplayable) >= {"rubrics", "orders", "repeats"}


def test_failures_are_counted_by_stage_and_reason(audited: MakeRound, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Scripted(lambda request: "…")
    made = scored(fair, problems=2)
    looked_at = audited(made)
    monkeypatch.setattr("pop_selfplay.runs.casting.open_model", lambda *_, **__: silent)
    with Journal.open(Path(":memory:")) as journal:
        found = play(looked_at, casting(looked_at, journal))
    assert found.lost["rubrics"] == {"rubric_writer.no_tag": 2} and found.rubrics == {}
    assert "rubric_writer.no_tag 2" in found.why_missing("rubrics")


def judged_by(audited: MakeRound, monkeypatch: pytest.MonkeyPatch, made: list[Scored], model: Scripted) -> SecondOpinion:
    monkeypatch.setattr("pop_selfplay.runs.casting.open_model", lambda *_, **__: model)
    base = audited(made)
    looked_at = AuditedRound(base.session, Options(judge=SimulatedModel(), judge_name="j"), 1, base.scored)
    with Journal.open(Path(":memory:")) as journal:
        found = second_judge(looked_at, casting(looked_at, journal), made)
    assert found is not None
    return found


def test_a_second_judge_grades_by_the_yardstick_and_by_the_runs_rubric_with_the_document_in_view(
    audited: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, model = scored(fair, problems=2), Scripted(write)
    found = judged_by(audited, monkeypatch, made, model)
    prompts = shown(model, Role.JUDGE)
    assert len(prompts) == 2 * 2 * 8 and all("two drops" in text and "<document>" in text for text in prompts)
    for one in made:
        own = [text for text in prompts if one.problem.text in text]
        assert all(one.document.text in text for text in own)
        marks, rated = ([text for text in own if rubric.criteria[0].name in text] for rubric in (FIXED_RUBRIC, RUBRIC))
        assert len(marks) == len(rated) == 8 and not set(marks) & set(rated)
        expected = {index: float(min(2, int(3 * quality_of(answer)))) for index, answer in one.answers.items()}
        assert found.mark.scores[one.id] == found.by_rubric.scores[one.id] == expected


def test_a_second_judge_that_fails_gives_no_score_and_is_counted(audited: MakeRound, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored(fair, problems=1, candidates=4)
    found = judged_by(audited, monkeypatch, made, Scripted(lambda request: "fine"))
    assert found.mark.scores == {} and found.mark.lost == {"no_tag": 4}


def test_without_a_judge_in_the_options_nobody_is_asked(audited: MakeRound) -> None:
    made = scored(fair, problems=1)
    looked_at = audited(made)
    with Journal.open(Path(":memory:")) as journal:
        assert second_judge(looked_at, casting(looked_at, journal), made) is None
