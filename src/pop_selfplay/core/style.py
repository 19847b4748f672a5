"""The style of an answer in four numbers, as Arena-Hard's style control counts it, and how two answers differ in it."""

import re
from typing import Final, NamedTuple

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
