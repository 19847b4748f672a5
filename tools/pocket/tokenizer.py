"""A byte-level tokenizer for the pocket world, with superwords.

Text is cut around *atoms*: values, halves of names, clauses, questions, tags, ratings. What stands between two atoms (such as
". Healers give " or a criterion's whole JSON frame) is a *phrase*. Every atom, and every phrase that recurs in demonstrations,
is one token, so an article is about twenty tokens and a value is the same token wherever it stands. Anything else falls back to
bytes: every text is encoded without loss.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tools.pocket import demonstrations
from tools.pocket.demonstrations import NOTHING_SAID
from transformers import PreTrainedTokenizerFast

from pop_selfplay.pocket.world import ATTRIBUTES, BRIDGES, HEDGE, LEADS, NAME_HEADS, NAME_TAILS, World

PAD, BOS, USER, ASSISTANT, END = SPECIAL = ("<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SAMPLED_TEXTS: Final = 3000
MIN_COUNT: Final = 3


def values() -> tuple[str, ...]:
    """Return every value of every attribute, as it stands in a text: after a space."""
    return tuple(f" {value}" for attribute in ATTRIBUTES.values() for value in attribute.values)


def atoms() -> tuple[str, ...]:
    """Return every string that is always exactly one token, longest first."""
    tags = (f"<{slash}{tag}>" for tag in ("problem", "answer", "rubric", "evaluation") for slash in ("", "/"))
    clauses = (f" {attribute.clause}" for attribute in ATTRIBUTES.values())
    questions = (question for attribute in ATTRIBUTES.values() for question in attribute.questions)
    names = (*NAME_HEADS, *(f"-{tail}" for tail in NAME_TAILS))
    words = (*values(), f" {HEDGE}", f" {NOTHING_SAID}", *clauses, *questions, *tags, *names, *LEADS, *BRIDGES, *"012")
    return tuple(sorted(words, key=lambda word: (-len(word), word)))


def _pattern() -> str:
    """Return the pattern of one atom. A name's head must be followed by a hyphen, a rating by a tag or a closing brace."""

    def bounded(word: str) -> str:
        if word in NAME_HEADS:
            return rf"(?<![A-Za-z]){re.escape(word)}(?=-)"
        if word in tuple("012"):
            return rf"{word}(?=[<}}])"
        return re.escape(word) + ("(?![A-Za-z])" if word[-1].isalpha() else "")

    return "|".join(bounded(word) for word in atoms())


def build_tokenizer(world: World) -> Any:
    """Return the tokenizer, made from sampled demonstrations; always the same for one world."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL)}
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    entries = [*sorted(pre_tokenizers.ByteLevel.alphabet())]
    entries += [_as_bytes(to_bytes, text) for text in (*atoms(), *_phrases(_texts(world, random.Random(1))))]
    for entry in entries:
        vocabulary.setdefault(entry, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_pattern()), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
    return fast


def _as_bytes(to_bytes: Any, text: str) -> str:
    return "".join(piece for piece, _ in to_bytes.pre_tokenize_str(text))


def _texts(world: World, rng: random.Random) -> Iterator[str]:
    for _ in range(SAMPLED_TEXTS):
        yield demonstrations.article(world, rng)
        for role in demonstrations.ROLES.values():
            shown = role(world, rng)
            yield from (message.content for message in shown.messages)
            yield shown.completion


def _phrases(texts: Iterable[str]) -> list[str]:
    """Return what stands between atoms at least MIN_COUNT times, most frequent first."""
    firsts = re.escape("".join(sorted({atom[0] for atom in atoms()})))
    pattern = re.compile(f"(?=[{firsts}])(?:{_pattern()})")  # three times as fast as to try every atom at every place
    counts = Counter(piece for text in texts for piece in pattern.split(text) if piece)
    return [piece for piece, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= MIN_COUNT]
