"""Words: count them, cut to them, and spread candidates over them. A word is what stands between white space.

Scripts that are written without spaces count as few words; a corpus of them needs its own `filter.min_words`.

The style of an answer in four numbers, as Arena-Hard's style control counts it, and how two answers differ in it.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from pop_selfplay.records import Candidate


def count_words(text: str) -> int:
    return len(text.split())


def has_words(text: str, minimum: int) -> bool:
    """Whether `text` has at least `minimum` words; reads no further than it must."""
    return len(text.split(None, minimum)) >= minimum


def cut_words(text: str, maximum: int) -> str:
    """Return `text` up to the end of its word `maximum` (≥ 1), white space as it was, or all of it if it has fewer."""
    pieces = text.split(None, maximum)
    return text if len(pieces) <= maximum else text[: len(text) - len(pieces[-1])].rstrip()


def spread(candidates: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """Return `count` (≥ 1) of the candidates, evenly spaced from the shortest answer to the longest, or all if fewer.

    In the order of length in words, ties by index. The shortest and the longest are among them, when `count` is at
    least 2; a single one is the median. (Method, "The spread of candidates": every k-th by length, where k need not be
    whole here.)
    """
    ranked = sorted(candidates, key=lambda candidate: (count_words(candidate.answer), candidate.index))
    if len(ranked) <= count:
        return tuple(ranked)
    if count == 1:
        return (ranked[(len(ranked) - 1) // 2],)
    return tuple(ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count))


_CODE: Final = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER: Final = re.compile(r"^ {0,3}#{1,6}\s", re.MULTILINE)
_LIST: Final = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s", re.MULTILINE)
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
    return Style(len(text.split()), *(len(pattern.findall(prose)) for pattern in (_HEADER, _LIST, _BOLD)))


def style_difference(a: Style, b: Style) -> tuple[float, float, float, float]:
    """Return how a differs from b, each part in [−1, 1] and 0 where they are alike.

    Length: (a − b) / (a + b). Marks: the same of their number per word, with 1 added below, so that one mark in a short
    answer is no extreme.
    """
    length = (a.words - b.words) / (a.words + b.words) if a.words + b.words else 0.0
    marks = [(_density(a, n) - _density(b, n)) / (_density(a, n) + _density(b, n) + 1) for n in (1, 2, 3)]
    return (length, marks[0], marks[1], marks[2])


def _density(style: Style, part: int) -> float:
    return style[part] / style.words if style.words else 0.0
