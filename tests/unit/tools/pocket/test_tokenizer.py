"""The superword tokenizer: one token per value in every context, and no text is lost."""

import random
from typing import Any

import pytest
from tools.pocket import demonstrations
from tools.pocket.tokenizer import atoms, build_tokenizer, values

from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.world import ATTRIBUTES, NAME_HEADS, NAME_TAILS, Statement, World

WORLD = World()


def pieces(tokenizer: Any, text: str) -> list[str]:
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_each_value_is_one_token_in_every_context(tokenizer: Any, attribute: str) -> None:
    for value in ATTRIBUTES[attribute].values:
        sentences = [sentence.format(n="Cor-lock", v=value) for sentence in ATTRIBUTES[attribute].articles]
        said = [wording.answer("Cor-lock", {attribute: Statement(value, hedged)}) for hedged in (False, True)]
        rubric = demonstrations.rubric_completion({attribute: value}, [attribute])
        note = f" {ATTRIBUTES[attribute].clause} {value} {value}2<evaluation>"
        for text in (*sentences, *said, rubric, note):
            assert pieces(tokenizer, text).count(f" {value}") == text.count(f" {value}") >= 1, text


def test_each_half_of_a_name_is_one_token(tokenizer: Any) -> None:
    for head in NAME_HEADS:
        for tail in NAME_TAILS:
            assert pieces(tokenizer, f"{head}-{tail} treats gout.")[:3] == [head, f"-{tail}", " treats"]


def test_demonstrations_need_no_single_bytes_but_punctuation(tokenizer: Any) -> None:
    rng = random.Random(99)
    for _ in range(50):
        for role in demonstrations.ROLES.values():
            shown = role(WORLD, rng)
            for text in (shown.messages[-1].content, shown.completion):
                assert not [piece for piece in pieces(tokenizer, text) if len(piece) == 1 and piece.isalpha()], text


@pytest.mark.parametrize(
    "text", ["", "Plain words, 123 and <tags>.", "Grüße 🌿\n\t«naïve» 漢字", " fever feverish Cor-lock Corlock"]
)
def test_any_text_survives(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_tokenizer_is_made_the_same_way_every_time(tokenizer: Any) -> None:
    again = build_tokenizer(World())
    assert again.get_vocab() == tokenizer.get_vocab() and len(tokenizer) < 800
    assert set(values()) <= set(atoms())
