"""An echo is no answer: text that a model copied from its own prompt, or from the problem, is found here and refused.

What counts is the fixed text of a prompt, as it stands in the domain's file: what was filled in (a document, a problem) may be
quoted by a good answer. `fixed_text` prepares it once, `echo_in` looks at what a parser returned, whatever role or scoring mode
asked: the texts in it, its marks, and where it holds no text what stands around the verdict.

| an echo is | found by |
| --- | --- |
| what a form has in the place of a text: "short name", "what to look for" | the same words, numbers aside, or nearly the same |
| a passage of the prompt | five words or more that stand there in a row, eight in a judge's thoughts |
| a sentence of the prompt in a text of its own | ten words in a row that stand there; not in a judge's thoughts |
| mostly the prompt | eight words or more, half of whose runs of four stand there; three quarters of a thought's |
| the verdict of an example | both marks of a comparison, or a whole completion that the prompt shows, without a thought |
| the problem instead of an answer | nine tenths of either's runs of four in the other, or a question of it or a part of one |

Words are compared as `text/overlap.py` normalises them. Shorter passages prove nothing, nor does "Not applicable" as a gold
answer, which prompts ask for. A new kind of value gets a case in `_said`.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final, NamedTuple

from pop_selfplay.method.parsing import Marks, Proposal, Rejection
from pop_selfplay.method.problems import has_gold
from pop_selfplay.records import Candidate, Rating, Rubric
from pop_selfplay.text.overlap import normalised_words

ECHO: Final = "echoes_prompt"
_LEAST, _LEAST_OF_THOUGHTS, _LEAST_MIXED = 5, 8, 8
_RUN: Final = 4
_CARRIED: Final = 10
_LONGEST_AGAIN: Final = 200
_MOSTLY, _MOSTLY_OF_THOUGHTS, _REPEATED, _ALIKE = 0.5, 0.75, 0.9, 0.8
_PLACE: Final = re.compile(r"\{\{\s*\w+\s*\}\}")
_SHOWN: Final = re.compile(r"<([\w-]+)>[^<>{]*</\1>|^\{[^{].*\}$", re.MULTILINE)
_IN_TAGS: Final = re.compile(r"<([\w-]+)>([^<>]*)</\1>")
_IN_QUOTES: Final = re.compile(r'"\w+"\s*:\s*"([^"\n]*)"')
_IN_BRACKETS: Final = re.compile(r"[<\[(]([^<>\[\]()\n]* [^<>\[\]()\n]*)[>\])]")
_EXAMPLE_MARKS: Final = re.compile(r"<rating_A>\s*([\d.]+)\s*</rating_A>\s*<rating_B>\s*([\d.]+)\s*</rating_B>", re.IGNORECASE)
_QUESTION: Final = re.compile(r"[^.!?\n]*\?")

Words = tuple[str, ...]
Runs = frozenset[Words]


class FixedText(NamedTuple):
    """What the prompts of a role always say: passages without a place in them, forms to fill, and examples of a verdict."""

    passages: tuple[str, ...]
    runs: Runs
    sentences: Runs
    forms: frozenset[Words]
    marks: frozenset[tuple[float, float]]
    shown: frozenset[str]


class Said(NamedTuple):
    """A text that a model wrote, and what it is. Thoughts come closer to a prompt than answers do, and prove less."""

    what: str
    text: str
    thought: bool = False


@lru_cache(maxsize=64)
def fixed_text(prompts: tuple[str, ...]) -> FixedText:
    """Return the fixed text of `prompts`, their `{{places}}` still open; what fills a place always is put in before."""
    passages = [tuple(normalised_words(part)) for prompt in prompts for part in _PLACE.split(prompt)]
    runs = frozenset(run for words in passages for run in _runs(words))
    sentences = frozenset(run for words in passages for run in _runs(words, _CARRIED))
    forms = {_form(text) for prompt in prompts for text in _forms(prompt)}
    marks = frozenset((float(a), float(b)) for prompt in prompts for a, b in _EXAMPLE_MARKS.findall(prompt))
    shown = frozenset(_squeezed(block[0]) for prompt in prompts for block in _SHOWN.finditer(prompt))
    return FixedText(
        tuple(f" {' '.join(words)} " for words in passages), runs, sentences, frozenset(forms - {()}), marks, shown
    )


def _forms(prompt: str) -> Iterator[str]:
    """Yield what stands for a text in the forms of a prompt: between tags, as a value of JSON, in brackets of its own."""
    for content in (match[2] for match in _IN_TAGS.finditer(prompt)):
        if not content.lstrip().startswith(("{", "[")):
            yield content
    yield from _IN_QUOTES.findall(prompt)
    for line in prompt.splitlines():
        whole = _IN_BRACKETS.fullmatch(line.strip())
        if whole is not None:
            yield whole[1]


def _form(text: str) -> Words:
    """Return the words by which a form is known: none where it is a place, a number or too short to tell."""
    if _PLACE.search(text):
        return ()
    words = _without_numbers(normalised_words(text))
    return words if len(words) > 1 or (words and len(words[0]) > 2) else ()


def _without_numbers(words: Sequence[str]) -> Words:
    return tuple(word for word in words if not word.isdigit())


def _runs(words: Sequence[str], length: int = _RUN) -> Runs:
    return frozenset(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def echo_in(value: object, completion: str, fixed: FixedText) -> Rejection | None:
    """Return why a parsed `value` of `completion` is an echo of the prompt; None where it is the model's own."""
    if isinstance(value, Marks) and (value.a, value.b) in fixed.marks:
        return Rejection(ECHO, f"the ratings {value.a:g} and {value.b:g} are those of the prompt's example")
    texts = [said for said in _said(value) if said.text]
    if not texts and _only_shown(completion, fixed):
        return Rejection(ECHO, f"the verdict is the prompt's example, and nothing else: {completion!r:.80}")
    for said in texts or [Said("what the judge thinks aloud", _SHOWN.sub(" ", completion), thought=True)]:
        if echoes(said.text, fixed, thought=said.thought):
            return Rejection(ECHO, f"{said.what} is the prompt's own text: {said.text!r:.80}")
    return None


def _said(value: object) -> Iterator[Said]:
    """Yield the texts of a parsed value that are the model's to write."""
    match value:
        case Proposal(problem, reference_answer):
            yield Said("the problem", problem)
            yield Said("the reference answer", reference_answer)
        case Candidate():
            yield Said("the answer", value.answer)
        case Rubric():
            for criterion in value.criteria:
                yield Said("the name of a criterion", criterion.name)
                yield Said("the description of a criterion", criterion.description)
                if has_gold(criterion):
                    yield Said("the gold answer of a criterion", criterion.gold)
        case Rating():
            yield Said("a judge's thought", value.thoughts, thought=True)
        case tuple() if not isinstance(value, Marks):
            for part in value:
                yield from _said(part)


def echoes(text: str, fixed: FixedText, *, thought: bool = False) -> bool:
    """Return whether `text`, a judge's `thought` or anything else, is or nearly is something that `fixed` says."""
    words = normalised_words(text)
    plain = _without_numbers(words)
    if plain and any(_same(plain, form) for form in fixed.forms):
        return True
    if len(words) >= (_LEAST_OF_THOUGHTS if thought else _LEAST) and any(
        f" {' '.join(words)} " in passage for passage in fixed.passages
    ):
        return True
    if not thought and not fixed.sentences.isdisjoint(_runs(words, _CARRIED)):
        return True
    mostly = _MOSTLY_OF_THOUGHTS if thought else _MOSTLY
    return len(words) >= _LEAST_MIXED and _share(_runs(words), fixed.runs) >= mostly


def _only_shown(completion: str, fixed: FixedText) -> bool:
    """Return whether a completion is nothing but verdicts that the prompt shows: whether it was meant cannot be told."""
    blocks = [_squeezed(block[0]) for block in _SHOWN.finditer(completion)]
    return bool(blocks) and not _SHOWN.sub("", completion).strip() and fixed.shown.issuperset(blocks)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


def _same(words: Words, form: Words) -> bool:
    if words == form or len(form) < _RUN or not _RUN <= len(words) <= 2 * len(form):
        return words == form
    return SequenceMatcher(None, words, form, autojunk=False).ratio() >= _ALIKE


def _share(runs: Runs, known: Runs) -> float:
    return len(runs & known) / len(runs) if runs else 0.0


def repeats_problem(answer: str, problem: str) -> bool:
    """Return whether an answer is nothing but the problem again, or a question of it.

    An answer may hold much of a problem, a sentence that was to be corrected, say: so each must nearly be the other.
    """
    words, asked = normalised_words(answer), normalised_words(problem)
    if words and (words == asked or _said_again(words, asked)):
        return True
    if len(words) < _LEAST:
        return False
    if any(words == normalised_words(question) for question in _QUESTION.findall(problem)):
        return True
    if answer.rstrip().endswith("?") and f" {' '.join(words)} " in f" {' '.join(asked)} ":
        return True
    if words[: len(asked)] == asked:  # what follows may be an answer to it, however short
        return words[len(asked) :] == asked
    own, other = _runs(words), _runs(asked)
    return _share(own, other) >= _REPEATED and _share(other, own) >= _REPEATED


def _said_again(words: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether `words` begin a problem and end as it does, with hardly a word in between or before: "The question is: …".

    What leaves a problem's beginning out may be a sentence that was to be corrected.
    """
    if not _LEAST <= len(asked) <= len(words) + 3 <= _LONGEST_AGAIN or words[-2:] != asked[-2:]:
        return False
    if f" {' '.join(asked[:3])} " not in f" {' '.join(words)} ":
        return False
    before = len(words) - len(asked)
    if words[-len(asked) :] == asked and before <= max(_LEAST, len(asked) // 4):
        return True
    return SequenceMatcher(None, words, asked, autojunk=False).ratio() >= _REPEATED
