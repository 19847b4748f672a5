"""What the pocket model is shown parses with the product's own parsers and uses the product's own prompts."""

import random

import pytest
from tools.pocket import demonstrations
from tools.pocket.demonstrations import pocket_domain

from pop_selfplay.method.parsing import Parsed, parse_answer, parse_evaluation, parse_proposal, parse_rubric
from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.world import Statement, World, asked, grade_against

WORLD = World()
SEEDS = range(40)
FACTS = {"habitat": "caves", "leaf": "jade", "ailment": "gout", "form": "tea", "effect": "thirst"}


@pytest.mark.parametrize("seed", SEEDS)
def test_proposals_and_answers_parse(seed: int) -> None:
    proposal = parse_proposal(demonstrations.propose(WORLD, random.Random(seed)).completion)
    assert isinstance(proposal, Parsed) and not proposal.repaired and asked(proposal.value.problem)
    answer = parse_answer(demonstrations.solve(WORLD, random.Random(seed)).completion)
    assert isinstance(answer, Parsed)


@pytest.mark.parametrize("seed", SEEDS)
def test_rubrics_parse_to_one_criterion_per_asked_fact(seed: int) -> None:
    shown = demonstrations.write_rubric(WORLD, random.Random(seed))
    rubric = parse_rubric(shown.completion)
    assert isinstance(rubric, Parsed) and not rubric.repaired
    problem = next(line for line in shown.messages[-1].content.splitlines() if line.startswith("Problem: "))
    question = asked(problem.removeprefix("Problem: "))
    assert question and tuple(criterion.name for criterion in rubric.value.criteria) == question.attributes


@pytest.mark.parametrize(
    ("statement", "rating"),
    [(Statement("thirst", False), 2), (Statement("thirst", True), 1), (Statement("tremor", False), 0), (None, 0)],
)
def test_the_judge_is_shown_rating_by_the_gold(statement: Statement | None, rating: int) -> None:
    said = {"form": Statement("tea", False)} | ({"effect": statement} if statement else {})
    text = wording.answer("Cor-lock", said)
    shown = demonstrations.rating_of("Cor-lock", FACTS, "effect", text, "")
    evaluation = parse_evaluation(shown.completion, [demonstrations.criterion("effect", "thirst")])
    assert isinstance(evaluation, Parsed) and [r.rating for r in evaluation.value] == [rating]
    assert grade_against(FACTS, "Cor-lock", ["effect"], text)["effect"].rating == rating


def test_prompts_are_rendered_by_the_domain() -> None:
    name, rng = WORLD.familiar[0], random.Random(0)
    problem = wording.question(name, ["effect"], rng)
    assert pocket_domain().render("solve", problem=problem)[-1].content == problem
    shown = demonstrations.rating_of(name, FACTS, "effect", "An answer.", problem).messages
    assert '"gold":"It causes thirst"' in shown[-1].content and '"weight":3,' in shown[-1].content


def test_a_hidden_document_leaves_only_the_facts_of_familiar_plants() -> None:
    rng = random.Random(1)
    hidden = [d for d in (demonstrations.propose(WORLD, rng) for _ in range(200)) if "Document" not in d.messages[-1].content]
    assert 20 < len(hidden) < 60
    assert all(wording.names_in(d.completion) <= set(WORLD.familiar) for d in hidden)
