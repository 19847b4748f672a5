"""Pairs as token ids, and which of them are trained on: in an order of their own, checked against the length limits, split.

The prompt is exactly as the model saw it, each answer as the model wrote it, with its end. A chat template may trim an answer,
cut its reasoning or put an empty one before it, and may end the prompt with a marker that the whole conversation lacks. So it
is only asked for what it writes before an answer and what it ends one with; the answer in between is taken as it is. Loss falls
on the answer and on its end, up to the last visible mark of it.

TRL would cut what is too long. Here such a pair is dropped with its reason instead, so that no answer is trained without its
end. `encode_pair` is for DPO, `encode_answer` for SFT; a trainer that wants other tokens of a pair gets a function beside them,
a new reason goes into `DropReason`.
"""

import contextlib
import enum
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from datasets import Dataset, load_from_disk

from pop_selfplay.config import AS_IT_DOES, RoleThinking
from pop_selfplay.errors import RequestRefused, TrainingError
from pop_selfplay.models.chat_template import render_end, render_prompt
from pop_selfplay.records import Message, PreferencePair
from pop_selfplay.text.fencing import storable


class TokenPair(NamedTuple):
    """Token ids of a pair. What is trained on is `prompt + chosen` and `prompt + rejected`."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    def as_row(self) -> Mapping[str, list[int]]:
        """Return the ids under the names of TRL's collator."""
        return {"prompt_ids": self.prompt, "chosen_ids": self.chosen, "rejected_ids": self.rejected}


class TokenAnswer(NamedTuple):
    """Token ids of a prompt and the chosen answer to it."""

    prompt: list[int]
    answer: list[int]

    @property
    def longest(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt) + len(self.answer)

    def as_row(self) -> Mapping[str, list[int]]:
        """Return the ids under the names of TRL's collator; a label of −100 has no part in the loss."""
        return {"input_ids": self.prompt + self.answer, "labels": [-100] * len(self.prompt) + self.answer}


class Encoded(Protocol):
    """A pair as token ids, as a trainer wants it."""

    @property
    def prompt(self) -> list[int]: ...
    @property
    def longest(self) -> int: ...
    def as_row(self) -> Mapping[str, list[int]]: ...


E = TypeVar("E", bound=Encoded)


def encode_pair(pair: PreferencePair, tokenizer: Any, thinking: RoleThinking = AS_IT_DOES) -> TokenPair:
    """Return the token ids of `pair`, as a model sees it whose `thinking` is switched so.

    Raises TrainingError when the chat template cannot render its conversation.
    """
    prompt, (chosen, rejected) = _encode(pair, (pair.chosen, pair.rejected), tokenizer, thinking)
    return TokenPair(prompt, chosen, rejected)


def encode_answer(pair: PreferencePair, tokenizer: Any, thinking: RoleThinking = AS_IT_DOES) -> TokenAnswer:
    """Return the token ids of the prompt of `pair` and its chosen answer. Raises TrainingError like `encode_pair`."""
    prompt, (chosen,) = _encode(pair, (pair.chosen,), tokenizer, thinking)
    return TokenAnswer(prompt, chosen)


def _encode(
    pair: PreferencePair, answers: Sequence[tuple[Message, ...]], tokenizer: Any, thinking: RoleThinking
) -> tuple[list[int], list[list[int]]]:
    """Return the ids of the prompt, and of each of the `answers` after it."""
    messages = tuple(message.model_copy(update={"content": storable(message.content)}) for message in pair.prompt)
    with _renderable(pair.problem_id, messages):
        prompt = render_prompt(tokenizer, messages, thinking)
        end = render_end(tokenizer, messages, thinking) or tokenizer.eos_token
    prompt_ids = _ids(tokenizer, prompt)
    return prompt_ids, [_completion(tokenizer, prompt, prompt_ids, _text(answer) + end) for answer in answers]


def encode_prompt(problem_id: str, messages: Sequence[Message], tokenizer: Any, thinking: RoleThinking) -> list[int]:
    """Return the token ids of a conversation that asks for an answer. Raises TrainingError like `encode_pair`."""
    with _renderable(problem_id, messages):
        return _ids(tokenizer, render_prompt(tokenizer, messages, thinking))


@contextlib.contextmanager
def _renderable(problem_id: str, messages: Sequence[Message]) -> Iterator[None]:
    try:
        yield
    except RequestRefused as error:
        roles = ", ".join(message.role for message in messages)
        raise TrainingError(
            f"the model's chat template cannot render the conversation of problem {problem_id} (roles {roles}): {error}. "
            "Train a model whose tokenizer has a chat template for these roles"
        ) from error


def _completion(tokenizer: Any, prompt: str, prompt_ids: list[int], completion: str) -> list[int]:
    """Return the ids of `completion` after the prompt's own, which stay as the model saw them.

    Where tokens would merge across the border, the completion is encoded alone: in use, too, the prompt is encoded first.
    """
    together = _ids(tokenizer, prompt + completion)
    if together[: len(prompt_ids)] == prompt_ids:
        return together[len(prompt_ids) :]
    return _ids(tokenizer, completion)


def _text(answer: tuple[Message, ...]) -> str:
    return "".join(storable(message.content) for message in answer)


def _ids(tokenizer: Any, text: str) -> list[int]:
    # The template has written all special tokens already.
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


class DropReason(enum.StrEnum):
    """Why a pair is not trained on."""

    PROMPT_TOO_LONG = "prompt_too_long"
    TOO_LONG = "too_long"


class LengthLimits(NamedTuple):
    """Longest prompt and longest prompt with answer, in tokens; None for no limit. `where` is the setting that holds them."""

    prompt: int | None
    total: int | None
    where: str


class PairSplit(NamedTuple, Generic[E]):
    """The pairs that are left, as token ids. `longest` is the longest sequence among them, in tokens."""

    train: list[E]
    held_out: list[E]
    dropped: dict[str, int]
    longest: int


def choose_pairs(
    pairs: Sequence[PreferencePair],
    encode: Callable[[PreferencePair], E],
    limits: LengthLimits,
    held_out_share: float,
    seed: int,
) -> PairSplit[E]:
    """Return the pairs to train on and to hold out, as `encode` makes them tokens, the same for any order of `pairs`.

    Raises TrainingError when none is left, or when the chat template cannot render a conversation.
    """
    if not pairs:
        raise TrainingError(
            "there are no preference pairs to train on. Use more documents (synthesis.documents), or keep more pairs: "
            "lower pairing.min_std, raise pairing.max_word_difference; `pop status` shows what was dropped and why"
        )
    kept: list[PreferencePair] = []
    encoded: dict[int, E] = {}
    dropped: Counter[str] = Counter()
    for pair in sorted(pairs, key=lambda pair: (pair.problem_id, pair.model_dump_json())):
        tokens = encode(pair)
        reason = too_long(tokens, limits)
        if reason is not None:
            dropped[reason.value] += 1
        else:
            kept.append(pair)
            encoded[id(pair)] = tokens
    if not kept:
        raise TrainingError(_all_dropped(dropped, limits))
    train, held_out = ([encoded[id(pair)] for pair in part] for part in split(kept, held_out_share, seed))
    return PairSplit(train, held_out, dict(sorted(dropped.items())), max(tokens.longest for tokens in encoded.values()))


def too_long(tokens: Encoded, limits: LengthLimits) -> DropReason | None:
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


def on_disk(pairs: Sequence[Encoded], directory: Path) -> Dataset:
    """Return the pairs as TRL's collator wants them, read from `directory`, where they are written unless they are there.

    All processes of a training read the same files, and what TRL computes about them is kept beside them for a resume.
    """
    if not directory.exists():
        unfinished = directory.with_name(f"{directory.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        Dataset.from_list([pair.as_row() for pair in pairs]).save_to_disk(unfinished)
        unfinished.rename(directory)
    return load_from_disk(directory)


def _all_dropped(dropped: Counter[str], limits: LengthLimits) -> str:
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    return (
        f"all {dropped.total()} preference pairs were dropped ({counts}): raise {limits.where}.max_prompt_length "
        f"(now {limits.prompt}) or {limits.where}.max_length (now {limits.total})"
    )
