"""Words: count them, cut to them, and spread candidates over them; and the style of an answer.

A word is what stands between white space. Where a script is written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, Tibetan and others), what stands between white space is counted as near-duplicates count it (`text/overlap.py`): a word
a character. This is the one counter for all lengths in words. Style is four numbers, as Arena-Hard's style control counts them.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pop_selfplay.records import Candidate
from pop_selfplay.text.overlap import normalised_words

_WITHOUT_SPACES: Final = re.compile(
    "[\u0e01-\u0fff\u1000-\u109f\u1780-\u17e9\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b7f\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48c\ua980-\ua9fe\uaa60-\uaadf"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U000323af]"
)
_SPACED: Final = re.compile(r"\S+")


def split_words(text: str) -> list[str]:
    """Return the words of `text`: those between white space as they are, those of scripts without spaces normalised."""
    if not _WITHOUT_SPACES.search(text):
        return text.split()
    return [word for spaced in text.split() for word in _words_of(spaced)]


def count_words(text: str) -> int:
    if not _WITHOUT_SPACES.search(text):
        return len(text.split())
    return sum(len(_words_of(spaced)) for spaced in text.split())


def has_words(text: str, minimum: int) -> bool:
    """Whether `text` has at least `minimum` words; reads no further than it must."""
    if not _WITHOUT_SPACES.search(text):
        return len(text.split(None, minimum)) >= minimum
    return any(before + len(_words_of(spaced[0])) >= minimum for spaced, before in _counted(text)) if minimum > 0 else True


def cut_words(text: str, maximum: int) -> str:
    """Return `text` up to the end of its word `maximum` (≥ 1), white space as it was, or all of it if it has fewer."""
    if not _WITHOUT_SPACES.search(text):
        pieces = text.split(None, maximum)
        return text if len(pieces) <= maximum else text[: len(text) - len(pieces[-1])].rstrip()
    for spaced, before in _counted(text):
        if before + len(_words_of(spaced[0])) > maximum:
            return text[: spaced.start() + _place(spaced[0], maximum - before)].rstrip()
    return text


def _counted(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield all that stands between white space, with the number of words before it."""
    before = 0
    for spaced in _SPACED.finditer(text):
        yield spaced, before
        before += len(_words_of(spaced[0]))


def _words_of(spaced: str) -> list[str]:
    """Return the words of a text without white space: at least one, itself."""
    return (normalised_words(spaced) or [spaced]) if _WITHOUT_SPACES.search(spaced) else [spaced]


def _place(spaced: str, words: int) -> int:
    """Return how many characters of a text without white space have at most `words` words; no mark is cut from its letter."""
    low, high = 0, 1
    while high < len(spaced) and len(_words_of(spaced[:high])) <= words:
        low, high = high, 2 * high
    high = min(high, len(spaced))
    while low + 1 < high:  # spaced[:low] has few enough, spaced[:high] too many
        middle = (low + high) // 2
        low, high = (middle, high) if len(_words_of(spaced[:middle])) <= words else (low, middle)
    while low and low < len(spaced) and unicodedata.category(spaced[low])[0] == "M":
        low -= 1
    return low if words else 0


def spread(candidates: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """Return `count` (≥ 1) of the candidates, evenly spaced from the shortest answer to the longest, or all if fewer.

    In the order of length, ties by index; one alone is the median. (Method, "The spread of candidates": every k-th by length.)
    """
    ranked = sorted(candidates, key=lambda candidate: (count_words(candidate.answer), candidate.index))
    if len(ranked) <= count:
        return tuple(ranked)
    if count == 1:
        return (ranked[(len(ranked) - 1) // 2],)
    return tuple(ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count))


# As Arena-Hard counts: no indented headers, no "2)", and code ends where its fence does.
_CODE: Final = re.compile(r"```[^`]*```")
_HEADER: Final = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST: Final = re.compile(r"^\s*(?:[-*+]|\d+\.)\s", re.MULTILINE)
_BOLD: Final = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


class Style(NamedTuple):
    """Length in words; headers, list items and bold passages outside of code blocks."""

    words: int
    headers: int
    lists: int
    bolds: int


def style_of(text: str) -> Style:
    """Return the style of a Markdown text."""
    prose = _CODE.sub("", text)
    return Style(count_words(text), *(len(pattern.findall(prose)) for pattern in (_HEADER, _LIST, _BOLD)))


def style_difference(a: Style, b: Style) -> tuple[float, float, float, float]:
    """Return how a differs from b, each part in [−1, 1] and 0 where they are alike.

    Length: (a − b) / (a + b). Marks: the same of their number per word, plus 1 below: one mark in a short answer is no extreme.
    """
    length = (a.words - b.words) / (a.words + b.words) if a.words + b.words else 0.0
    marks = [(_density(a, n) - _density(b, n)) / (_density(a, n) + _density(b, n) + 1) for n in (1, 2, 3)]
    return (length, marks[0], marks[1], marks[2])


def _density(style: Style, part: int) -> float:
    return style[part] / (style.words + 1)
