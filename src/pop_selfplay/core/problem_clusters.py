"""Problems that nearly repeat each other: of every cluster one stays.

Two problems are alike when the Jaccard similarity of their sets of five-word shingles reaches a threshold; alike problems, and
those alike to them, make a cluster. Of each cluster the problem with the smallest (round, id) stays. The clusters of a round
are made from its problems and those of earlier rounds only, so a later round never changes what an earlier one kept, and
within a round nothing depends on the order in which problems were made.

Candidates for a comparison are found by MinHash (`core/near_duplicates.py`), the comparison itself is exact.
"""

from collections.abc import Mapping, Sequence

from pop_selfplay.core.near_duplicates import banding, shingle_set, signature, similarity
from pop_selfplay.core.shingles import Hashes


class ProblemClusters:
    """The problems of a run so far, round by round. Holds about 2 KB for each."""

    def __init__(self, threshold: float) -> None:
        """Let problems be alike from a similarity of `threshold` in (0, 1] on."""
        self._threshold = threshold
        self._bands, self._rows = banding(threshold)
        self._shingles: list[Hashes] = []
        self._ids: list[str] = []
        self._leader: list[int] = []  # union-find, towards the place that came first
        self._met: dict[tuple[int, bytes], list[int]] = {}

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
            for other in self._neighbours(own, place):
                if similarity(own, self._shingles[other]) >= self._threshold:
                    self._join(place, other)
        return place

    def _neighbours(self, own: Hashes, place: int) -> Sequence[int]:
        """Return the earlier places that share a band with `own`, and leave its bands behind."""
        rows = signature(own)[: self._bands * self._rows].reshape(self._bands, self._rows)
        met: set[int] = set()
        for band, row in enumerate(rows):
            same = self._met.setdefault((band, row.tobytes()), [])
            met.update(same)
            same.append(place)
        return sorted(met)

    def _find(self, place: int) -> int:
        while self._leader[place] != place:
            self._leader[place] = self._leader[self._leader[place]]
            place = self._leader[place]
        return place

    def _join(self, one: int, other: int) -> None:
        a, b = sorted((self._find(one), self._find(other)))
        self._leader[b] = a
