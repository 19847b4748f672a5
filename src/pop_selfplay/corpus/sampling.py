"""Which documents a round works on: the ones with the smallest hash of run seed and document id.

So the choice depends on nothing but the seed and the corpus: not on the order of reading, and a larger choice contains
the smaller one. The round before is passed over with `skip`, so no document comes twice in a run.

One pass. Memory holds the texts of `skip` + `count` documents and 16 bytes for every other one. Texts that are equal
but for white space, in the part that is used, count as one document: the one with the smallest hash.
"""

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pop_selfplay.config import DocumentFilter
from pop_selfplay.core.filtering import cut_words, has_words
from pop_selfplay.core.seeds import derive_seed
from pop_selfplay.corpus.rows import Entry, Skipped
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what became of the rest: `read` = `available` + the sum of `dropped`.

    `documents` are cut to the filter's max_words, and in the order of their hashes. `available` are the documents that
    could have been chosen, before `skip`; fewer than were asked for is not an error. `dropped` counts reasons: the
    reader's, and `too_short`, `duplicate_text`, `duplicate_id`.
    """

    documents: tuple[Document, ...]
    available: int
    read: int
    dropped: Mapping[str, int]


def choose(entries: Iterable[Entry], *, seed: int, count: int, filter: DocumentFilter, skip: int = 0) -> Choice:
    """Return the `count` documents that follow the first `skip` ones in the order of their hashes.

    Where different texts share one id (a wrong id_field), one of them is kept, and fewer than `count` may come out.
    Raises CorpusError when nothing is left to choose, with the reasons.
    """
    smallest = _Smallest(skip + count)
    dropped: Counter[str] = Counter()
    read = 0
    for entry in entries:
        read += 1
        if isinstance(entry, Skipped):
            dropped[entry.reason] += 1
        elif not has_words(entry.text, filter.min_words):
            dropped["too_short"] += 1
        else:
            text = cut_words(entry.text, filter.max_words)
            smallest.add(derive_seed("choose", seed, entry.id), _fingerprint(text), entry, text)
    dropped += smallest.duplicates()
    available = read - dropped.total()
    documents = smallest.documents(skip)
    if not documents:
        raise CorpusError(_nothing_left(available, read, dropped, filter))
    return Choice(documents, available, read, dict(dropped))


def _nothing_left(available: int, read: int, dropped: Mapping[str, int], filter: DocumentFilter) -> str:
    if available:
        return (
            f"all {available} usable documents of the corpus are held out or went into earlier rounds: "
            "lower measure.documents, synthesis.documents or rounds, or add documents"
        )
    if not read:
        return "the corpus holds no documents: check corpus"
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(dropped.items()))
    return (
        f"none of the {read} texts of the corpus can be used ({reasons}): check the corpus and its text_field, "
        f"or lower filter.min_words (now {filter.min_words})"
    )


def _fingerprint(text: str) -> int:
    """Return 64 bits that are equal for texts that differ in white space alone."""
    normalised = " ".join(text.split())
    return int.from_bytes(hashlib.blake2b(normalised.encode("utf-8"), digest_size=8).digest(), "little")


@dataclass
class _Smallest:
    """The documents with the `size` smallest (hash, fingerprint), one for each fingerprint, from any order of arrival.

    A document that was let go never has to come back: what is held only ever gets smaller.
    """

    size: int
    held: dict[int, tuple[int, Document]] = field(default_factory=dict)  # fingerprint: (hash, document)
    heap: list[tuple[int, int]] = field(default_factory=list)  # (-hash, -fingerprint), among them replaced ones
    hashes: "array[int]" = field(default_factory=lambda: array("Q"))  # of every document, to count duplicates
    fingerprints: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, hash: int, fingerprint: int, document: Document, text: str) -> None:
        """Hold `document`, with `text` for its text, if it belongs to the smallest so far."""
        self.hashes.append(hash)
        self.fingerprints.append(fingerprint)
        if fingerprint in self.held:
            other_hash, other = self.held[fingerprint]
            if (hash, document.id, text) >= (other_hash, other.id, other.text):
                return
        elif len(self.held) == self.size:
            largest = self._largest()
            if (hash, fingerprint) >= largest:
                return
            del self.held[largest[1]]
        self.held[fingerprint] = (hash, document.model_copy(update={"text": text}))
        heapq.heappush(self.heap, (-hash, -fingerprint))

    def _largest(self) -> tuple[int, int]:
        """Return the largest (hash, fingerprint) held, and forget the replaced ones above it."""
        while True:
            hash, fingerprint = -self.heap[0][0], -self.heap[0][1]
            if fingerprint in self.held and self.held[fingerprint][0] == hash:
                return hash, fingerprint
            heapq.heappop(self.heap)

    def documents(self, skip: int) -> tuple[Document, ...]:
        """Return the held documents from place `skip` on, in order; of those that share an id, the first."""
        ranked = sorted((hash, fingerprint) for fingerprint, (hash, _) in self.held.items())
        seen: set[str] = set()
        documents = []
        for place, (_, fingerprint) in enumerate(ranked):
            document = self.held[fingerprint][1]
            if document.id not in seen and place >= skip:
                documents.append(document)
            seen.add(document.id)
        return tuple(documents)

    def duplicates(self) -> Counter[str]:
        """Count, over every document ever added, those whose text, or else whose id, one with a smaller key has."""
        hashes = np.frombuffer(self.hashes, dtype=np.uint64)
        fingerprints = np.frombuffer(self.fingerprints, dtype=np.uint64)
        order = np.lexsort((hashes, fingerprints))
        first = np.ones(len(order), dtype=bool)
        first[1:] = np.diff(fingerprints[order]) != 0
        kept = hashes[order[first]]
        counts = {"duplicate_text": len(hashes) - len(kept), "duplicate_id": len(kept) - len(np.unique(kept))}
        return Counter({reason: count for reason, count in counts.items() if count})
