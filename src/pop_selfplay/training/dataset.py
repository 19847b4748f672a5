"""Which pairs are trained on: in an order of their own, checked against the chat template and the length limits, split.

TRL would cut what is too long and take whatever a chat template renders. Here such a pair is dropped with its reason instead,
so that no answer is trained without its end or without its reasoning. A new reason goes into `DropReason`.
"""

import enum
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from jinja2 import TemplateError

from pop_selfplay.errors import TrainingError
from pop_selfplay.journal.export import row_of
from pop_selfplay.records import PreferencePair


class DropReason(enum.StrEnum):
    """Why a pair is not trained on."""

    PROMPT_TOO_LONG = "prompt_too_long"
    TOO_LONG = "too_long"
    TEMPLATE_ALTERS_ANSWER = "template_alters_answer"


class Limits(NamedTuple):
    """Longest prompt and longest prompt with answer, in tokens; None for no limit."""

    prompt: int | None
    total: int | None


class Chosen(NamedTuple):
    """The pairs that are left. `longest` is the longest sequence among them, in tokens."""

    train: list[PreferencePair]
    held_out: list[PreferencePair]
    dropped: dict[str, int]
    longest: int


def choose_pairs(pairs: Sequence[PreferencePair], tokenizer: Any, limits: Limits, held_out_share: float, seed: int) -> Chosen:
    """Return the pairs to train on and to hold out, the same for any order of `pairs`.

    Raises TrainingError when none is left, or when the chat template cannot render a conversation.
    """
    if not pairs:
        raise TrainingError(
            "there are no preference pairs to train on. Play more documents (synthesis.documents), or keep more pairs: "
            "lower pairing.min_std, raise pairing.max_word_difference; `pop status` shows what was dropped and why"
        )
    kept: list[PreferencePair] = []
    dropped: Counter[str] = Counter()
    longest = 0
    for pair in sorted(pairs, key=lambda pair: (pair.problem_id, pair.model_dump_json())):
        verdict = inspect(pair, tokenizer, limits)
        if isinstance(verdict, DropReason):
            dropped[verdict.value] += 1
        else:
            kept.append(pair)
            longest = max(longest, verdict)
    if not kept:
        raise TrainingError(_all_dropped(dropped, limits))
    train, held_out = split(kept, held_out_share, seed)
    return Chosen(train, held_out, dict(sorted(dropped.items())), longest)


def inspect(pair: PreferencePair, tokenizer: Any, limits: Limits) -> DropReason | int:
    """Return the tokens of the longer of the pair's two conversations, or why the pair cannot be used as it is."""
    row = row_of(pair)
    prompt = _render(tokenizer, row["prompt"], pair.problem_id, answer_follows=True)
    if limits.prompt is not None and _count(tokenizer, prompt) > limits.prompt:
        return DropReason.PROMPT_TOO_LONG
    longest = 0
    for answer in (row["chosen"], row["rejected"]):
        text = _render(tokenizer, row["prompt"] + answer, pair.problem_id, answer_follows=False)
        if not all(_is_inside(message["content"], text) for message in answer):
            return DropReason.TEMPLATE_ALTERS_ANSWER
        longest = max(longest, _count(tokenizer, text))
    return DropReason.TOO_LONG if limits.total is not None and longest > limits.total else longest


def split(pairs: Sequence[PreferencePair], share: float, seed: int) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Divide into training and held-out pairs, about `share` of them held out, both in the order of `pairs`.

    Whole documents are held out, so that no held-out problem is about a document trained on. One document is always trained on.
    """
    documents = sorted({pair.document_id for pair in pairs})
    random.Random(seed).shuffle(documents)
    per_document = Counter(pair.document_id for pair in pairs)
    wanted, taken = round(share * len(pairs)), 0
    held_out: set[str] = set()
    for document in documents[1:]:
        if taken >= wanted:
            break
        held_out.add(document)
        taken += per_document[document]
    return (
        [pair for pair in pairs if pair.document_id not in held_out],
        [pair for pair in pairs if pair.document_id in held_out],
    )


def as_dataset(pairs: Sequence[PreferencePair]) -> Dataset:
    """Return the pairs as TRL wants them: conversations in prompt, chosen and rejected, in memory."""
    return Dataset.from_list([{name: row_of(pair)[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs])


def _render(tokenizer: Any, messages: list[dict[str, str]], problem_id: str, *, answer_follows: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_follows)
    except (TemplateError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise TrainingError(
            f"the model's chat template cannot render the conversation of problem {problem_id} (roles {roles}): {error}. "
            "Train a model whose tokenizer has a chat template for these roles"
        ) from error
    return text


def _count(tokenizer: Any, text: str) -> int:
    # The template has written its own special tokens, so that none is added here; TRL does the same.
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _is_inside(answer: str, conversation: str) -> bool:
    """Templates may trim and move white space; some drop everything up to </think>, which would train without reasoning."""
    return "".join(answer.split()) in "".join(conversation.split())


def _all_dropped(dropped: Counter[str], limits: Limits) -> str:
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    return (
        f"all {dropped.total()} preference pairs were dropped ({counts}). Too long: raise training.dpo.max_prompt_length "
        f"(now {limits.prompt}) or training.dpo.max_length (now {limits.total}). Altered: the model's chat template removes "
        "a part of the answers, train with a template that keeps them whole"
    )
