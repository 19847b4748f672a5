"""Which pairs are trained on, with a tokenizer of one token per word."""

import random
from typing import Any

import pytest
from jinja2 import TemplateError

from pop_selfplay.errors import TrainingError
from pop_selfplay.records import Message, PreferencePair
from pop_selfplay.training.dataset import DropReason, Limits, as_dataset, choose_pairs, inspect, split

NO_LIMITS = Limits(None, None)


class WordTokenizer:
    """Renders "<role> text <end>" for every message; `thinking` cuts what comes before </think>, as some templates do."""

    def __init__(self, thinking: bool = False, knows_system: bool = True) -> None:
        self.thinking = thinking
        self.knows_system = knows_system

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        if not self.knows_system and messages[0]["role"] == "system":
            raise TemplateError("System role not supported")
        contents = [m["content"].split("</think>")[-1] if self.thinking else m["content"] for m in messages]
        turns = [f"<{m['role']}> {text.strip()} <end>" for m, text in zip(messages, contents, strict=True)]
        return " ".join([*turns, *(["<assistant>"] if add_generation_prompt else [])])

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        return {"input_ids": text.split()}


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
        (NO_LIMITS, 12),
        (Limits(8, 12), 12),
        (Limits(7, 12), DropReason.PROMPT_TOO_LONG),
        (Limits(8, 11), DropReason.TOO_LONG),
    ],
)
def test_a_pair_that_just_fits_is_kept(limits: Limits, verdict: DropReason | int) -> None:
    assert inspect(make_pair(), WordTokenizer(), limits) == verdict


def test_the_longer_answer_counts_whichever_it_is() -> None:
    assert (
        inspect(make_pair(rejected="well it depends on the season"), WordTokenizer(), Limits(None, 12)) is DropReason.TOO_LONG
    )


def test_a_template_that_cuts_reasoning_drops_the_pair() -> None:
    pair = make_pair(chosen="<think>red or blue</think> red")
    assert inspect(pair, WordTokenizer(thinking=True), NO_LIMITS) is DropReason.TEMPLATE_ALTERS_ANSWER


def test_a_template_that_trims_white_space_is_no_loss() -> None:
    assert inspect(make_pair(chosen="  the red leaf\n"), WordTokenizer(), NO_LIMITS) == 12


def test_dropped_pairs_are_counted_by_reason_and_the_rest_is_kept() -> None:
    long_question = make_pair(2, question="Which leaf of all the leaves that there are?")
    chosen = choose_pairs([make_pair(1), long_question, make_pair(3, chosen="x " * 9)], WordTokenizer(), Limits(9, 14), 0, 1)
    assert [pair.problem_id for pair in chosen.train] == ["p001"]
    assert chosen.dropped == {"prompt_too_long": 1, "too_long": 1}
    assert chosen.longest == 12


def test_the_order_of_the_journal_changes_nothing() -> None:
    pairs = [make_pair(number) for number in range(30)] + [make_pair(3, chosen="another leaf")]
    shuffled = random.Random(0).sample(pairs, len(pairs))
    chosen = choose_pairs(pairs, WordTokenizer(), NO_LIMITS, 0.1, 5)
    assert chosen == choose_pairs(shuffled, WordTokenizer(), NO_LIMITS, 0.1, 5)
    assert [pair.problem_id for pair in chosen.train] == sorted(pair.problem_id for pair in chosen.train)


def test_without_pairs_the_error_says_what_to_change() -> None:
    with pytest.raises(TrainingError, match=r"no preference pairs.*synthesis\.documents.*pairing\.min_std"):
        choose_pairs([], WordTokenizer(), NO_LIMITS, 0.04, 1)


def test_when_every_pair_is_dropped_the_error_names_reasons_and_limits() -> None:
    with pytest.raises(TrainingError, match=r"all 2 .*too_long: 2.*training\.dpo\.max_length \(now 3\)"):
        choose_pairs([make_pair(1), make_pair(2)], WordTokenizer(), Limits(None, 3), 0.04, 1)


def test_a_template_that_does_not_know_a_role_is_named() -> None:
    with pytest.raises(TrainingError, match=r"problem p001 .*system, user.*System role not supported"):
        choose_pairs([make_pair()], WordTokenizer(knows_system=False), NO_LIMITS, 0.04, 1)


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


def test_the_dataset_holds_conversations_only() -> None:
    dataset = as_dataset([make_pair()])
    assert dataset.column_names == ["prompt", "chosen", "rejected"]
    assert dataset[0]["chosen"] == [{"role": "assistant", "content": "the red leaf"}]
