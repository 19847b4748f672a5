"""Each sampled answer finds its problem and rubric, or is refused with what to do."""

import json
from typing import Any

import pytest
from tests.unit.stages.scripted import PROBLEM, RUBRIC

from pop_selfplay.domains import load_domain
from pop_selfplay.errors import UsageError
from pop_selfplay.records import Candidate, Episode, Evaluation, Failure, PreferencePair
from pop_selfplay.rewards.rubric_reward import text_of
from pop_selfplay.rewards.scoring import Graded, Rubrics, sound

DOMAIN = load_domain("health_care")
PROMPT = [turn.model_dump() for turn in DOMAIN.render("solve", problem=PROBLEM.text)]
GRADED = Graded(PROBLEM, RUBRIC)


def find(prompt: Any = PROMPT, known: Graded | None = None, **columns: Any) -> Graded:
    (found,) = Rubrics([known] if known else [], DOMAIN).find([prompt], {name: [value] for name, value in columns.items()})
    return found


@pytest.mark.parametrize("rubric", [RUBRIC.model_dump_json(), RUBRIC.model_dump(mode="json")])
def test_a_rubric_column_is_enough(rubric: Any) -> None:
    found = find("How much valerian?", rubric=rubric)
    assert found.rubric == RUBRIC and found.problem.text == "How much valerian?"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_rubric_may_be_the_list_alone_and_no_two_criteria_share_a_name(as_text: bool) -> None:
    criteria = RUBRIC.model_dump(mode="json")["criteria"]
    assert find("How much?", rubric=json.dumps(criteria) if as_text else criteria).rubric == RUBRIC
    twice = {"criteria": [criteria[0], criteria[0]]}
    with pytest.raises(UsageError, match="two criteria have the same name"):
        find("How much?", rubric=json.dumps(twice) if as_text else twice)


def test_a_prompt_in_parts_is_the_same_prompt() -> None:
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in PROMPT]
    assert find(parts, GRADED) == GRADED


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "turn"}], "turn"),
        ([{"role": "assistant", "content": None}], ""),
        (
            [{"role": "assistant", "content": [{"type": "text", "text": "it's\n"}, {"type": "text", "text": "5 mg"}]}],
            "it's\n5 mg",
        ),
        ([{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "5"}]}], "5"),
    ],
)
def test_a_completion_is_a_text_or_a_conversation_in_parts(completion: Any, text: str) -> None:
    assert text_of(completion) == text


@pytest.mark.parametrize("completion", [[], None, 5, [{"role": "assistant"}], [{"content": [{"type": "image"}]}]])
def test_a_completion_of_another_shape_is_refused(completion: Any) -> None:
    with pytest.raises(UsageError, match="a completion must be a text, or a conversation"):
        text_of(completion)


def test_without_a_problem_column_the_user_s_turn_is_the_problem() -> None:
    prompt = [{"role": "system", "content": "You advise."}, {"role": "user", "content": "How much?"}]
    assert find(prompt, rubric=RUBRIC.model_dump_json()).problem.text == "How much?"
    assert find(prompt, rubric=RUBRIC.model_dump_json(), problem="How much valerian?").problem.text == "How much valerian?"


def test_without_an_id_equal_texts_with_other_rubrics_are_other_problems() -> None:
    other = RUBRIC.model_copy(update={"criteria": RUBRIC.criteria[:1]})
    ids = {find("How much?", rubric=rubric.model_dump_json()).problem.id for rubric in (RUBRIC, other, RUBRIC)}
    assert len(ids) == 2


def test_a_known_problem_is_found_by_its_id_or_by_its_prompt() -> None:
    assert find("anything", GRADED, problem_id=PROBLEM.id) == GRADED
    assert find(PROMPT, GRADED) == GRADED


def test_the_column_wins_over_what_is_known() -> None:
    other = RUBRIC.model_copy(update={"criteria": RUBRIC.criteria[:1]})
    assert find(PROMPT, GRADED, problem_id=PROBLEM.id, rubric=other.model_dump_json()).rubric == other


def test_what_else_a_trainer_passes_does_not_matter() -> None:
    assert Rubrics([GRADED], DOMAIN).find([PROMPT], {"trainer_state": object(), "rubric": None}) == [GRADED]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "give the dataset a column rubric"),
        ({"problem_id": "9/x/0"}, r"problem_id '9/x/0'"),
        ({"rubric": "no json"}, "column rubric is not a rubric"),
        ({"rubric": {"criteria": []}}, "column rubric is not a rubric"),
    ],
)
def test_a_sample_without_a_rubric_is_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find("other words", **columns)


def episode(**changes: Any) -> Episode:
    scored = (Candidate(index=0, completion="<answer>a</answer>", answer="a"),)
    return Episode(
        id=PROBLEM.id, round=1, document_id="d1", problem=PROBLEM, candidates=scored, rubric=RUBRIC,
        evaluations=(Evaluation(candidate=0, score=1.0),),
    ).model_copy(update=changes)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason", "used"),
    [
        ({}, "no_spread", True),
        ({}, "length_gap", True),
        ({}, "near_duplicate_problem", False),
        ({}, "reference_below_median", False),
        ({"failure": Failure(stage="judge", reason="too_few_scored")}, "too_few_scored", False),
    ],
)
def test_online_rl_uses_what_gave_no_pair_for_the_pair_s_sake_only(changes: dict[str, Any], reason: str, used: bool) -> None:
    made: PreferencePair | Failure = Failure(stage="pair", reason=reason)
    found = list(sound([(episode(**changes), made)]))
    assert [sound_one.graded for sound_one in found] == ([GRADED] if used else [])
