"""Is a problem fit to be asked? It must stand on its own, and give nothing of the reference answer away.

Both checks would rather let a bad problem pass than refuse a good one: a refused problem costs a new call, and a word list
cannot tell a reference to the hidden document from an honest mention. So a text that the problem itself brings in ("I read an
article …") or quotes at length may be pointed at, and short answers may occur in a problem (a choice between options).

Problems that nearly repeat each other: of every cluster one stays.

Two problems are alike when the Jaccard similarity of their sets of five-word shingles reaches a threshold; alike problems, and
those alike to them, make a cluster. Of each cluster the problem with the smallest (round, id) stays. The clusters of a round
are made from its problems and those of earlier rounds only, so a later round never changes what an earlier one kept, and
within a round nothing depends on the order in which problems were made.

Candidates for a comparison are found by MinHash (`text/overlap.py`), the comparison itself is exact.
"""

import re
from collections.abc import Mapping
from typing import Final

from pop_selfplay.text.overlap import Bands, Hashes, normalised_words, shingle_set, similarity

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
_CALLED_ANSWER: Final = re.compile(r"\b(?:answer|solution)\s*(?:is\s*:?|[:=：])", re.IGNORECASE)
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

    Words are compared as `text/overlap.py` normalises them. A reference answer of fewer than five words is found only where the
    problem calls it the answer ("Answer: 4"): elsewhere it may be one of the options, or a number among the given ones.
    """
    answer = normalised_words(reference_answer)
    runs = [tuple(answer[start : start + _SHINGLE]) for start in range(len(answer) - _SHINGLE + 1)]
    if not runs:
        said = (normalised_words(problem[called.end() :]) for called in _CALLED_ANSWER.finditer(problem))
        return any(
            answer and words[: len(answer)] == answer and words[len(answer) : len(answer) + 1] != ["or"] for words in said
        )
    asked = normalised_words(problem)
    known = {tuple(asked[start : start + _SHINGLE]) for start in range(len(asked) - _SHINGLE + 1)}
    return sum(run in known for run in runs) >= _REPEATED_SHARE * len(runs)


class ProblemClusters:
    """The problems of a run so far, round by round. Holds about 2 KB for each."""

    def __init__(self, threshold: float) -> None:
        """Let problems be alike from a similarity of `threshold` in (0, 1] on."""
        self._threshold = threshold
        self._bands = Bands(threshold)
        self._shingles: list[Hashes] = []
        self._ids: list[str] = []
        self._leader: list[int] = []  # union-find, towards the place that came first

    def add_round(self, problems: Mapping[str, str]) -> dict[str, str]:
        """Take in the problems (id → text) of one round; return the id of each that goes → the id of the one that stays."""
        ids = sorted(problems)
        places = [self._add(id_, problems[id_]) for id_ in ids]
        kept = [self._ids[self._find(place)] for place in places]
        return {id_: stays for id_, stays in zip(ids, kept, strict=True) if stays != id_}

    def _add(self, id_: str, text: str) -> int:
        place, own = len(self._ids), shingle_set(text)
        self._ids.append(id_)
        self._shingles.append(own)
        self._leader.append(place)
        if own.size:
            keys = self._bands.keys(own)
            for other in self._bands.met(keys):
                if similarity(own, self._shingles[other]) >= self._threshold:
                    self._join(place, other)
            self._bands.put(keys, place)
        return place

    def _find(self, place: int) -> int:
        while self._leader[place] != place:
            self._leader[place] = self._leader[self._leader[place]]
            place = self._leader[place]
        return place

    def _join(self, one: int, other: int) -> None:
        a, b = sorted((self._find(one), self._find(other)))
        self._leader[b] = a
