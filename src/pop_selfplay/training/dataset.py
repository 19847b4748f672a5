"""Which pairs are trained on: in an order of their own, as token ids, checked against the length limits, split.

TRL would cut what is too long. Here such a pair is dropped with its reason instead, so that no answer is trained without its
end. A new reason goes into `DropReason`.
"""

import enum
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, load_from_disk

from pop_selfplay.errors import TrainingError
from pop_selfplay.records import PreferencePair
from pop_selfplay.training.tokens import TokenPair, encode_pair


class DropReason(enum.StrEnum):
    """Why a pair is not trained on."""

    PROMPT_TOO_LONG = "prompt_too_long"
    TOO_LONG = "too_long"


class Limits(NamedTuple):
    """Longest prompt and longest prompt with answer, in tokens; None for no limit."""

    prompt: int | None
    total: int | None


class Chosen(NamedTuple):
    """The pairs that are left, as token ids. `longest` is the longest sequence among them, in tokens."""

    train: list[TokenPair]
    held_out: list[TokenPair]
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
    encoded: dict[int, TokenPair] = {}
    dropped: Counter[str] = Counter()
    for pair in sorted(pairs, key=lambda pair: (pair.problem_id, pair.model_dump_json())):
        tokens = encode_pair(pair, tokenizer)
        reason = too_long(tokens, limits)
        if reason is not None:
            dropped[reason.value] += 1
        else:
            kept.append(pair)
            encoded[id(pair)] = tokens
    if not kept:
        raise TrainingError(_all_dropped(dropped, limits))
    train, held_out = ([encoded[id(pair)] for pair in part] for part in split(kept, held_out_share, seed))
    return Chosen(train, held_out, dict(sorted(dropped.items())), max(tokens.longest for tokens in encoded.values()))


def too_long(tokens: TokenPair, limits: Limits) -> DropReason | None:
    """Return why the pair does not fit the limits, None when it does."""
    if limits.prompt is not None and len(tokens.prompt) > limits.prompt:
        return DropReason.PROMPT_TOO_LONG
    return DropReason.TOO_LONG if limits.total is not None and tokens.longest > limits.total else None


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


def on_disk(pairs: Sequence[TokenPair], directory: Path) -> Dataset:
    """Return the pairs as TRL's collator wants them, read from `directory`, where they are written unless they are there.

    All processes of a training read the same files, and what TRL computes about them is kept beside them for a resume.
    """
    if not directory.exists():
        unfinished = directory.with_name(f"{directory.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        Dataset.from_list([pair.as_row() for pair in pairs]).save_to_disk(unfinished)
        unfinished.rename(directory)
    return load_from_disk(directory)


def _all_dropped(dropped: Counter[str], limits: Limits) -> str:
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    return (
        f"all {dropped.total()} preference pairs were dropped ({counts}): raise training.dpo.max_prompt_length "
        f"(now {limits.prompt}) or training.dpo.max_length (now {limits.total})"
    )
