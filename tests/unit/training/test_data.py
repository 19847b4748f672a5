"""Which pairs are trained on, with a tokenizer of one token per word."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from pop_selfplay.errors import TrainingError
from pop_selfplay.records import Message, PreferencePair
from pop_selfplay.training.data import DropReason, LengthLimits, TokenPair, choose_pairs, encode_pair, on_disk, split, too_long

NO_LIMITS = LengthLimits(None, None, "training.dpo")


class WordTokenizer:
    """Renders "<role> text <end>" for every message; `thinking` cuts what comes before </think>, as some templates do.

    Ids are the words themselves, so that they can be read.
    """

    chat_template = None
    eos_token = "<end>"

    def __init__(self, thinking: bool = False, refuses: bool = False) -> None:
        self.thinking = thinking
        self.refuses = refuses

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        if self.refuses:
            raise TemplateError("no such role")
        contents = [m["content"].split("</think>")[-1] if self.thinking else m["content"] for m in messages]
        turns = [f"<{m['role']}> {text.strip()} <end>" for m, text in zip(messages, contents, strict=True)]
        return " ".join([*turns, *(["<assistant> "] if add_generation_prompt else [])])

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        return {"input_ids": text.split()}


def encode(**tokenizer: bool) -> Callable[[PreferencePair], TokenPair]:
    return partial(encode_pair, tokenizer=WordTokenizer(**tokenizer))


def make_pair(
    number: int = 1, question: str = "Which leaf?", chosen: str = "the red leaf", rejected: str = "no", document: str = ""
) -> PreferencePair:
    return PreferencePair(
        prompt=(Message(role="system", content="Advise."), Message(role="user", content=question)),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        chosen_score=2,
        rejected_score=0,
        reference_answer="red",
        document_id=document or f"d{number}",
        problem_id=f"p{number:03}",
        round=1,
    )


# "<system> Advise. <end> <user> Which leaf? <end> <assistant>" is 8 tokens, with the chosen answer and its end 12.
@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        (NO_LIMITS, None),
        (LengthLimits(8, 12, "training.dpo"), None),
        (LengthLimits(7, 12, "training.dpo"), DropReason.PROMPT_TOO_LONG),
        (LengthLimits(8, 11, "training.dpo"), DropReason.TOO_LONG),
    ],
)
def test_a_pair_that_just_fits_is_kept(limits: LengthLimits, verdict: DropReason | None) -> None:
    tokens = encode_pair(make_pair(), WordTokenizer())
    assert tokens.longest == 12
    assert too_long(tokens, limits) == verdict


def test_the_longer_answer_counts_whichever_it_is() -> None:
    tokens = encode_pair(make_pair(rejected="well it depends on the season"), WordTokenizer())
    assert too_long(tokens, LengthLimits(None, 12, "training.dpo")) is DropReason.TOO_LONG


def test_a_template_that_cuts_reasoning_does_not_cut_what_is_trained() -> None:
    pair = make_pair(chosen="<think>red or blue</think> red")
    words: list[object] = [*encode_pair(pair, WordTokenizer(thinking=True)).chosen]
    assert words == "<think>red or blue</think> red <end>".split()


def test_dropped_pairs_are_counted_by_reason_and_the_rest_is_kept() -> None:
    long_question = make_pair(2, question="Which leaf of all the leaves that there are?")
    chosen = choose_pairs(
        [make_pair(1), long_question, make_pair(3, chosen="x " * 9)], encode(), LengthLimits(9, 14, "training.dpo"), 0, 1
    )
    assert chosen.train == [encode_pair(make_pair(1), WordTokenizer())]
    assert chosen.dropped == {"prompt_too_long": 1, "too_long": 1}
    assert chosen.longest == 12


def test_the_order_of_the_journal_changes_nothing() -> None:
    pairs = [make_pair(number, question=f"Which {number:02}?") for number in range(30)] + [
        make_pair(3, question="Which 03?", chosen="another leaf")
    ]
    shuffled = random.Random(0).sample(pairs, len(pairs))
    chosen = choose_pairs(pairs, encode(), NO_LIMITS, 0.1, 5)
    assert chosen == choose_pairs(shuffled, encode(), NO_LIMITS, 0.1, 5)
    assert [pair.prompt for pair in chosen.train] == sorted(pair.prompt for pair in chosen.train)


def test_without_pairs_the_error_says_what_to_change() -> None:
    with pytest.raises(TrainingError, match=r"no preference pairs.*synthesis\.documents.*pairing\.min_std"):
        choose_pairs([], encode(), NO_LIMITS, 0.04, 1)


def test_when_every_pair_is_dropped_the_error_names_reasons_and_limits() -> None:
    with pytest.raises(TrainingError, match=r"all 2 .*too_long: 2.*training\.dpo\.max_length \(now 3\)"):
        choose_pairs([make_pair(1), make_pair(2)], encode(), LengthLimits(None, 3, "training.dpo"), 0.04, 1)


def test_a_template_that_refuses_a_conversation_is_named() -> None:
    with pytest.raises(TrainingError, match=r"problem p001 .*system, user.*no such role"):
        choose_pairs([make_pair()], encode(refuses=True), NO_LIMITS, 0.04, 1)


@pytest.mark.parametrize(("share", "held_out"), [(0, 0), (0.04, 4), (0.5, 50), (0.99, 99)])
def test_the_share_is_held_out_by_seed(share: float, held_out: int) -> None:
    pairs = [make_pair(number) for number in range(100)]
    train, kept = split(pairs, share, seed=1)
    assert (len(train), len(kept)) == (100 - held_out, held_out)
    assert not set(train) & set(kept)
    assert share in {0, 0.99} or kept != split(pairs, share, seed=2)[1]


def test_a_document_is_never_on_both_sides() -> None:
    train, held_out = split([make_pair(number, document=f"d{number % 10}") for number in range(50)], 0.1, seed=3)
    assert len(held_out) == 5
    assert not {pair.document_id for pair in train} & {pair.document_id for pair in held_out}


def test_one_document_is_always_trained_on() -> None:
    train, held_out = split([make_pair(1), make_pair(2, document="d1")], 0.9, seed=1)
    assert (len(train), len(held_out)) == (2, 0)


def test_the_pairs_are_written_once_and_read_by_everybody(tmp_path: Path) -> None:
    pairs = [TokenPair([1, 2], [3], [4, 5]), TokenPair([1], [2, 3, 4], [5])]
    written, read = on_disk(pairs, tmp_path / "pairs"), on_disk([], tmp_path / "pairs")
    assert list(written) == list(read) == [pair.as_row() for pair in pairs]
    assert written._fingerprint == read._fingerprint, "what is computed about them is found again"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
