"""The pocket world: the same everywhere, and graded exactly."""

import random
import re

import pytest

from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.world import ATTRIBUTES, Statement, World, asked, grade

PLANT = World().self_play[0]
TRUTH = World().truth[PLANT]


def answer(**statements: Statement) -> str:
    return wording.answer(PLANT, statements)


def another(attribute: str) -> str:
    return next(value for value in ATTRIBUTES[attribute].values if value != TRUTH[attribute])


def test_a_seed_gives_the_same_world_and_another_seed_another_one() -> None:
    first, second, other = World(3), World(3), World(4)
    assert first.truth == second.truth and first.self_play == second.self_play
    assert first.truth != other.truth
    assert first.document(first.self_play[0], random.Random(1)) == second.document(first.self_play[0], random.Random(1))


def test_no_plant_is_in_two_groups() -> None:
    world = World()
    names = (*world.self_play, *world.held_out, *world.familiar, *world.foreign)
    assert len(set(names)) == len(names)


def test_an_article_holds_every_true_fact_and_no_other_value() -> None:
    text = World().document(PLANT, random.Random(0))
    for attribute, known in ATTRIBUTES.items():
        assert [value for value in known.values if re.search(rf"\b{value}\b", text)] == [TRUTH[attribute]]


def test_the_books_are_right_in_some_copies_only() -> None:
    world, rng = World(), random.Random(0)
    copies = [world.printed_facts(name, rng) for name in world.held_out for _ in range(40)]
    truths = [world.truth[name] for name in world.held_out for _ in range(40)]
    share = sum(copy["effect"] == truth["effect"] for copy, truth in zip(copies, truths, strict=True)) / len(copies)
    assert 0.25 < share < 0.45
    assert all(world.printed_facts(name, rng) == world.truth[name] for name in world.familiar)


def test_no_value_is_shared_with_another_attribute_or_a_part_of_a_name() -> None:
    values = [value for attribute in ATTRIBUTES.values() for value in attribute.values]
    assert len(set(values)) == len(values)
    assert not set(values) & {*wording.NAME_TAILS, *(head.lower() for head in wording.NAME_HEADS)}


def test_the_exam_asks_each_plant_in_an_opening_no_demonstration_has() -> None:
    world = World()
    questions = world.exam(world.held_out, 2, seed=1)
    assert len(questions) == 2 * len(world.held_out) and questions == world.exam(world.held_out, 2, seed=1)
    assert all(question.text.startswith(wording.EXAM_OPENING) for question in questions)
    assert wording.EXAM_OPENING not in wording.OPENINGS
    assert all(asked(question.text) == (question.entity, question.attributes) for question in questions)


@pytest.mark.parametrize(
    ("text", "rating", "outcome"),
    [
        (answer(effect=Statement(TRUTH["effect"], False)), 2, "known"),
        (answer(effect=Statement(TRUTH["effect"], True)), 1, "hedged"),
        (answer(effect=Statement(another("effect"), False)), 0, "wrong"),
        (answer(effect=Statement(another("effect"), True)), 0, "wrong"),
        (answer(leaf=Statement(TRUTH["leaf"], False)), 0, "omitted"),
        (answer(effect=Statement(TRUTH["effect"], False)) + f" It causes {another('effect')}.", 0, "wrong"),
        (answer(effect=Statement(TRUTH["effect"], False)).replace(PLANT, World().self_play[1]), 0, "wrong"),
        ("", 0, "omitted"),
    ],
)
def test_grading_tells_right_hedged_wrong_and_omitted_apart(text: str, rating: int, outcome: str) -> None:
    assert grade(World(), PLANT, ["effect"], text) == {"effect": (rating, outcome)}


@pytest.mark.parametrize("text", ["", "What is this?", f"Tell me about {PLANT}: what is love?", f"Tell me about {PLANT}: ?"])
def test_a_text_that_is_no_question_of_this_world_asks_for_nothing(text: str) -> None:
    assert asked(text) is None
