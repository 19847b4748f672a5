"""A preference pair as token ids: the prompt exactly as the model saw it, and each answer as the model wrote it, with its end.

A chat template may trim an answer, cut its reasoning or put an empty one before it, and may end the prompt with a marker that
the whole conversation lacks. So it is only asked for what it writes before an answer and what it ends one with; the answer in
between is taken as it is. Loss falls on the answer and on its end, up to the last visible mark of it.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pop_selfplay.errors import RequestRefused, TrainingError
from pop_selfplay.journal.export import storable
from pop_selfplay.models.chat_template import render_end, render_prompt
from pop_selfplay.records import Message, PreferencePair


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


def encode_pair(pair: PreferencePair, tokenizer: Any) -> TokenPair:
    """Return the token ids of `pair`. Raises TrainingError when the chat template cannot render its conversation."""
    messages = tuple(message.model_copy(update={"content": storable(message.content)}) for message in pair.prompt)
    with _renderable(pair.problem_id, messages):
        prompt = render_prompt(tokenizer, messages)
        end = render_end(tokenizer, messages) or tokenizer.eos_token
    prompt_ids = _ids(tokenizer, prompt)
    chosen, rejected = (
        _completion(tokenizer, prompt, prompt_ids, _text(answer) + end) for answer in (pair.chosen, pair.rejected)
    )
    return TokenPair(prompt_ids, chosen, rejected)


def encode_prompt(problem_id: str, messages: Sequence[Message], tokenizer: Any) -> list[int]:
    """Return the token ids of a conversation that asks for an answer. Raises TrainingError like `encode_pair`."""
    with _renderable(problem_id, messages):
        return _ids(tokenizer, render_prompt(tokenizer, messages))


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
