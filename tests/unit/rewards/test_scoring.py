"""Sampled answers get the score of synthesis; the judge's failure is no low score; no verdict is asked for twice."""

from pathlib import Path

import pytest
from tests.unit.stages.scripted import PROBLEM, RUBRIC, Scripted, domain_named, play

from pop_selfplay.method.echo import ECHO
from pop_selfplay.method.rewards import Sample, Shaping
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Problem, Role
from pop_selfplay.rewards.scoring import Graded, answer_number, score_answers
from pop_selfplay.stages.calls import Cast

GRADED = Graded(PROBLEM, RUBRIC)
OTHER = Graded(Problem(id="1/d2/0", document_id="d2", text="Which root?", reference_answer="Valerian"), RUBRIC)


def judge(request: ChatRequest) -> str:
    """Two drops are right; the judge breaks on "unjudgeable"."""
    shown = "\n".join(message.content for message in request.messages)
    if "unjudgeable" in shown:
        return "no verdict"
    dose = 2 if "two drops of it" in shown else 0
    return (
        f'<evaluation>{{"criterion_1": {{"name": "dose", "thoughts": "", "rating": {dose}}}, '
        '"criterion_2": {"name": "effect", "thoughts": "", "rating": 1}}</evaluation>'
    )


def samples(model: Scripted, *texts: str, journal: Path | str = ":memory:", shaping: Shaping | None = None) -> list[Sample]:
    async def work(cast: Cast) -> list[Sample]:
        return await score_answers(cast, [GRADED] * len(texts), list(texts), shaping=shaping)

    return play(model, work, journal, judge={"attempts": 2})


def test_the_score_is_the_weighted_mean_of_the_ratings() -> None:
    right, wrong = samples(Scripted(judge), "<answer>two drops of it</answer>", "<answer>a cup</answer>")
    assert right.score == pytest.approx(1.75) and right.reward == right.score
    assert right.answer == "two drops of it"
    assert wrong.score == 0.25


def test_an_answer_that_does_not_parse_scores_nothing_and_asks_nobody() -> None:
    model = Scripted(judge)
    (sample,) = samples(model, "two drops of it", shaping=Shaping(format_reward=0.5))
    assert (sample.answer, sample.score, sample.reward, sample.reason) == (None, 0.0, 0.0, "no_tag")
    assert model.requests == []


def test_an_answer_that_nothing_shows_the_end_of_counts_only_if_the_model_ended_by_itself() -> None:
    said, model = ["two drops of it", "two drops of it and", "<answer>two drops of it</answer> and"], Scripted(judge)
    found = play(
        model,
        lambda cast: score_answers(cast, [GRADED] * 3, said, ended=[True, False, False]),
        solver={"answer_tag": False},
        judge={"attempts": 2},
    )
    assert [(sample.answer, sample.reason) for sample in found] == [
        ("two drops of it", ""),
        (None, "cut_off"),
        ("two drops of it", ""),
    ]
    assert len(model.requests) == 1, "the two that are left are one answer"


def test_an_answer_that_only_echoes_its_prompt_or_problem_scores_nothing_and_asks_nobody() -> None:
    model, problem = Scripted(judge), "How many drops of valerian calm the heart, and when are they taken?"
    prompt = domain_named("health_care").prompts["solve"].system.split("\n")[0]
    graded = Graded(PROBLEM.model_copy(update={"text": problem}), RUBRIC)
    said = [f"<answer>{text}</answer>" for text in (prompt, problem)]
    found = play(model, lambda cast: score_answers(cast, [graded, graded], said))
    assert [(sample.answer, sample.score, sample.reason) for sample in found] == [(None, 0.0, ECHO)] * 2
    assert model.requests == []


def test_a_judge_that_fails_leaves_no_score_and_the_reason() -> None:
    failed, fine = samples(Scripted(judge), "<answer>unjudgeable</answer>", "<answer>a cup</answer>")
    assert (failed.score, failed.reward, failed.reason, failed.answer) == (None, None, "no_tag", "unjudgeable")
    assert fine.reward == 0.25


def test_equal_answers_are_judged_once_and_equal_ones_to_another_problem_again() -> None:
    model = Scripted(judge)

    async def work(cast: Cast) -> list[Sample]:
        return await score_answers(cast, [GRADED, GRADED, OTHER], ["<answer>a cup</answer>"] * 3)

    assert [sample.score for sample in play(model, work)] == [0.25] * 3
    assert len(model.requests) == 2


def test_a_verdict_is_found_again_in_the_journal_wherever_its_answer_stands(tmp_path: Path) -> None:
    first, again = Scripted(judge), Scripted(judge)
    texts = ["<answer>a cup</answer>", "<answer>two drops of it</answer>"]
    before = samples(first, *texts, journal=tmp_path / "run.db")
    after = samples(again, *reversed(texts), "<answer>a spoon</answer>", journal=tmp_path / "run.db")
    assert after[:2] == before[::-1]
    assert len(first.requests) == 2 and len(again.requests) == 1


def test_in_modes_that_compare_each_answer_is_rated_by_itself() -> None:
    model = Scripted(judge)

    async def work(cast: Cast) -> list[Sample]:
        return await score_answers(cast, [GRADED] * 2, ["<answer>a cup</answer>", "<answer>two drops of it</answer>"])

    assert [sample.score for sample in play(model, work, scoring="pairwise")] == pytest.approx([0.25, 1.75])


def test_verified_answers_need_no_rubric_and_no_judge() -> None:
    model = Scripted(judge)
    problem = Problem(id="1/d3/0", document_id="d3", text="1 + 1?", reference_answer="\\boxed{2}")

    async def work(cast: Cast) -> list[Sample]:
        answers = ["<answer>\\boxed{2}</answer>", "<answer>\\boxed{3}</answer>"]
        return await score_answers(cast, [Graded(problem, None)] * 2, answers)

    assert [sample.score for sample in play(model, work, domain="math", scoring="verify")] == [2.0, 0.0]
    assert model.requests == []


def test_the_document_is_never_shown_to_the_judge() -> None:
    model = Scripted(judge)
    samples(model, "<answer>a cup</answer>")
    assert "How much valerian?" in model.shown(Role.JUDGE) and "the book says" not in model.shown(Role.JUDGE)


@pytest.mark.parametrize("text", ["", "two drops", "\ud800 lone"])
def test_an_answer_s_number_depends_on_its_text_alone(text: str) -> None:
    assert answer_number(text) == answer_number(text) < 2**48
    assert answer_number(text) != answer_number(text + " ")
