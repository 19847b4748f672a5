"""Refusals and echoes of the rubric are told by the stated rules."""

import pytest

from pop_selfplay.method.answers import copies_rubric, is_refusal
from pop_selfplay.records import Criterion, Rubric

GOLD = "take two drops of valerian before sleep and never with wine or beer"


def rubric(gold: str = GOLD, description: str = "states the dose") -> Rubric:
    return Rubric(criteria=(Criterion(name="dose", gold=gold, description=description, weight=1),))


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "As an AI language model, I do not give medical advice.",
        "Unfortunately, I don't have access to the article.",
        "I cannot answer this question.",
        "I apologise, this is beyond me.",
        "There is not enough information to tell.",
    ],
)
def test_an_answer_that_begins_by_declining_is_a_refusal(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Take two drops before sleep. If it does not help, see a doctor.",
        "She said she was sorry to hear it.",
        "The asymptote cannot be reached.",
        "word " * 60 + "I cannot say more.",
        "",
    ],
)
def test_an_answer_that_helps_is_none(answer: str) -> None:
    assert not is_refusal(answer)


def test_eight_words_in_a_row_of_the_rubric_are_a_copy_whatever_the_punctuation() -> None:
    assert copies_rubric("You should TAKE two drops of valerian, before sleep and then rest.", rubric(), "How much?")
    assert copies_rubric(f"Well: {GOLD}.", rubric(gold="Not applicable", description=f"says: {GOLD}"), "How much?")


def test_seven_words_are_none_nor_are_words_of_the_problem() -> None:
    assert not copies_rubric("take two drops of valerian before sleep, I think", rubric(), "How much?")
    assert not copies_rubric(f"You ask whether to {GOLD}.", rubric(), f"Is it right to {GOLD}?")
