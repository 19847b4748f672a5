"""Is a problem fit to be asked? It must stand on its own, and give nothing of the reference answer away.

Both checks would rather let a bad problem pass than refuse a good one: a refused problem costs a new call, and a word list
cannot tell a reference to the hidden document from an honest mention. So a text that the problem itself brings in ("I read an
article …") or quotes at length may be pointed at, and short answers may occur in a problem (a choice between options).
"""

import re
from typing import Final

from pop_selfplay.core.shingles import normalised_words

_TEXT: Final = r"(?P<noun>text|passage|document|article|excerpt|extract|paragraph|snippet|source(?: material| text)?)s?"
_OTHER: Final = r"(?P<other>study|report|author|authors|abstract|website|page)"
_GIVEN: Final = r"(?:above|provided|given|supplied|preceding|accompanying|attached|aforementioned)"
_SAID: Final = (
    r"(?:described|stated|mentioned|discussed|explained|outlined|presented|listed|noted|reported|cited|given|provided)"
)
_SAYS: Final = r"(?:describes?|states?|mentions?|discusses|explains?|outlines?|presents?|lists?|notes?|reports?|says|refers)"
_POINTERS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\baccording to (?:the|this) (?:{_GIVEN} )?(?:{_TEXT}|{_OTHER})\b",
        rf"\bbased (?:up)?on (?:the|this) (?:{_GIVEN} )?{_TEXT}\b",
        rf"\b{_SAID} (?:in|by) (?:the|this) (?:{_GIVEN} )?{_TEXT}\b",
        rf"\b(?:the|this) {_GIVEN} {_TEXT}\b",
        rf"\b(?:the|this) {_TEXT} (?:above|provided|supplied)\b",
        rf"\b(?:the|this) {_TEXT} {_SAYS}\b",
    )
)
_QUOTED: Final = re.compile(r"“[^”]{80,}”|\"[^\"]{80,}\"|```.{80,}?```|^>.{80,}", re.DOTALL | re.MULTILINE)
_SHINGLE: Final = 5
_REPEATED_SHARE: Final = 0.8


def points_at_text(problem: str) -> str:
    """Return the words by which `problem` points at a text that its reader does not have; "" where it stands on its own."""
    if _QUOTED.search(problem):
        return ""
    for pointer in _POINTERS:
        for match in pointer.finditer(problem):
            names = match.groupdict()
            noun = names.get("noun") or names.get("other") or ""
            if not _brought_in(noun, problem[: match.start()]):
                return match[0]
    return ""


def _brought_in(noun: str, before: str) -> bool:
    """Whether the problem has spoken of such a text before it points at it: "a leaked report", "her article"."""
    introduction = rf"\b(?:an?|my|our|his|her|their|your|one|another|following)\s+(?:[\w'-]+\s+){{0,3}}?{re.escape(noun)}"
    return re.search(introduction, before, re.IGNORECASE) is not None


def repeats_reference(problem: str, reference_answer: str) -> bool:
    """Return whether `problem` holds the reference answer: four fifths or more of its runs of five words.

    Words are compared as `core/shingles.py` normalises them. A reference answer of fewer than five words is never found: it
    may be one of the options, or a number that also occurs among the given ones.
    """
    answer = normalised_words(reference_answer)
    runs = [tuple(answer[start : start + _SHINGLE]) for start in range(len(answer) - _SHINGLE + 1)]
    if not runs:
        return False
    asked = normalised_words(problem)
    known = {tuple(asked[start : start + _SHINGLE]) for start in range(len(asked) - _SHINGLE + 1)}
    return sum(run in known for run in runs) >= _REPEATED_SHARE * len(runs)
