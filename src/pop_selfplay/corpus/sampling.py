"""Which documents a round works on: the ones with the smallest hash of run seed and document id.

So the choice depends on nothing but the seed and the corpus: not on the order of reading, and a larger choice contains
the smaller one. The round before is passed over with `skip`, so no document comes twice in a run.

Texts that are equal but for white space, in the part that is used, count as one document: the one with the smallest
hash. The costlier grounds (near-duplicates, contamination) are judged in the order of the hashes, and only as far as
the last document chosen: whether a document stays depends on those with smaller hashes alone. So a pool of the smallest
hashes is enough, twice as large as what is wanted. Should so many of it be dropped that too few remain, the corpus is
read again for a pool without the dropped ones, until there are enough or nothing is left to read.

Memory holds the texts of the pool, and 16 bytes for every other document.

Which documents each round of a run works on. The run and its plan (`--dry-run`) split a corpus by the same function.
"""

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal, NamedTuple

import numpy as np

from pop_selfplay.config import DocumentFilter, RunConfig, SelfJudgedMeasure
from pop_selfplay.corpus.reader import read_documents
from pop_selfplay.corpus.rows import Entry, Skipped, read_benchmarks
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document
from pop_selfplay.seeds import derive_seed
from pop_selfplay.text.overlap import BenchmarkIndex, NearDuplicates, contaminated
from pop_selfplay.text.words import count_words, cut_words, has_words

Ground = Literal["duplicate_id", "contaminated", "near_duplicate"]


@dataclass
class Losses:
    """Why texts cannot be used: how many for each reason, the first of each, and how many words the short ones have."""

    counts: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    words: Counter[int] = field(default_factory=Counter)

    def add(self, reason: str, first: str) -> None:
        self.counts[reason] += 1
        self.firsts.setdefault(reason, first)

    def advice(self, filter: DocumentFilter, missing: int) -> list[str]:
        """Return which settings to change for `missing` more documents, and to what."""
        advice = []
        if self.words:
            advice.append(f"lower filter.min_words (now {filter.min_words}) to {self._min_words(missing)}")
        advice += [_ADVICE[reason] for reason in self.counts if reason in _ADVICE]
        if self.counts["near_duplicate"]:
            advice.append(f"raise filter.near_duplicates (now {filter.near_duplicates})")
        return advice

    def lines(self) -> list[str]:
        """Return a line for each reason: its count, and the first text that was lost to it where that is known."""
        return [
            f"{reason} {count}" + (f", first {self.firsts[reason]}" if reason in self.firsts else "")
            for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]

    def _min_words(self, missing: int) -> int:
        """Return the largest limit that lets `missing` of the short texts in; where they are too few, one that lets in half."""
        enough, gained = min(missing, -(-self.words.total() // 2)), 0
        for words in sorted(self.words, reverse=True):
            gained += self.words[words]
            if gained >= enough:
                return words
        return min(self.words)


@dataclass(frozen=True, slots=True)
class ChosenDocuments:
    """What was chosen, and what became of the rest: `read` = `available` + the sum of `dropped`.

    `documents` are cut to the filter's max_words, and in the order of their hashes. `available` are the documents that
    could have been chosen, before `skip`; fewer than were asked for is not an error. `dropped` counts reasons: the
    reader's, `too_short`, `duplicate_text`, `duplicate_id`, and, among the documents with a smaller hash than the last
    one chosen, `contaminated` and `near_duplicate`. Behind it nobody looks, and `available` is an upper bound. `losses`
    says more about them, for messages.
    """

    documents: tuple[Document, ...]
    available: int
    read: int
    dropped: Mapping[str, int]
    losses: Losses = field(default_factory=Losses, compare=False)


def choose(entries: Iterable[Entry], *, seed: int, count: int, filter: DocumentFilter, skip: int = 0) -> ChosenDocuments:
    """Return the `count` documents that follow the first `skip` ones in the order of their hashes.

    `entries` may be iterated more than once. Raises CorpusError when nothing is left to choose, with the reasons, and
    when the filter's benchmarks cannot be read.
    """
    if isinstance(entries, Iterator):
        raise TypeError("entries are read more than once: pass a list, or what read_documents returns, not an iterator")
    benchmarks = read_benchmarks(filter.benchmarks)
    wanted = skip + count
    passed_over: dict[int, _Passed] = {}
    while True:
        pool = _Smallest(2 * wanted + 64, passed_over.keys())
        losses = _fill(pool, entries, seed, filter)
        kept = _judge(pool.ranked(), wanted, filter.near_duplicates, benchmarks, passed_over)
        if len(kept) == wanted or len(pool.held) < pool.size:
            break
    dropped = losses.counts
    read = len(pool.hashes) + dropped.total()
    dropped.update(pool.duplicates())
    for passed in passed_over.values():
        if passed.ground != "duplicate_id":
            losses.add(passed.ground, passed.id)
    available = read - dropped.total()
    if len(kept) <= skip:
        raise CorpusError(_nothing_left(available, read, losses, filter, wanted))
    return ChosenDocuments(tuple(kept[skip:]), available, read, dict(dropped), losses)


def _fill(pool: "_Smallest", entries: Iterable[Entry], seed: int, filter: DocumentFilter) -> Losses:
    """Put every usable document into `pool`, and return why the others are not in it."""
    losses = Losses()
    for entry in entries:
        if isinstance(entry, Skipped):
            losses.add(entry.reason, entry.source + (f" ({entry.detail})" if entry.detail else ""))
        elif not has_words(entry.text, filter.min_words):
            words = count_words(entry.text)
            losses.add("too_short", f"{entry.source or entry.id} ({words} words)")
            losses.words[words] += 1
        else:
            text = cut_words(entry.text, filter.max_words)
            pool.add(derive_seed("choose", seed, entry.id), _fingerprint(text), entry, text)
    return losses


class _Passed(NamedTuple):
    """A document that was judged, and dropped; `hash` is the one of its `id`."""

    hash: int
    ground: Ground
    id: str


def _judge(
    ranked: Iterable["_Ranked"],
    wanted: int,
    threshold: float | None,
    benchmarks: BenchmarkIndex,
    passed_over: dict[int, _Passed],
) -> list[Document]:
    """Return the first `wanted` documents that nothing speaks against; note the others before the last one in `passed_over`.

    Of documents that share an id (a wrong id_field) the first is kept; of near-duplicates the first, too. A document
    resembles only kept ones: where a resembles b, and b resembles c, but a does not resemble c, a and c are kept.
    """
    kept: list[Document] = []
    ids = {passed.hash for passed in passed_over.values() if passed.ground != "duplicate_id"}  # theirs are those of a kept one
    unlike = None if threshold is None else NearDuplicates(threshold)
    for hash, fingerprint, document in ranked:
        if len(kept) == wanted:
            break
        if hash in ids:
            passed_over[fingerprint] = _Passed(hash, "duplicate_id", document.id)
        elif contaminated(document.text, benchmarks):
            passed_over[fingerprint] = _Passed(hash, "contaminated", document.id)
        elif unlike is not None and not unlike.add(document.text):
            passed_over[fingerprint] = _Passed(hash, "near_duplicate", document.id)
        else:
            kept.append(document)
        ids.add(hash)
    return kept


def _nothing_left(available: int, read: int, losses: Losses, filter: DocumentFilter, wanted: int) -> str:
    if available:
        return (
            f"all {available} usable documents of the corpus are held out or went into earlier rounds: "
            "lower measure.documents, synthesis.documents or rounds, or add documents"
        )
    if not read:
        return "the corpus holds no documents: check corpus"
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(losses.counts.items()))
    advice = ", or ".join(losses.advice(filter, wanted) or ["check the corpus"])
    lines = [f"first {reason}: {first}" for reason, first in sorted(losses.firsts.items())]
    return "\n".join([f"none of the {read} texts of the corpus can be used ({reasons}): {advice}", *lines])


_ADVICE: Final = {
    "unknown_type": (
        "convert files of unknown type (read in folders are .txt, .md, .jsonl, .json, also with .gz, .bz2, .xz or .zst, and "
        ".parquet) or list them by name or glob in corpus.paths"
    ),
    "no_text_field": "correct corpus.text_field",
    "text_not_a_string": "correct corpus.text_field: it must hold a text",
    "no_id_field": "correct corpus.id_field",
    "not_utf8": "convert the files to UTF-8",
}


def _fingerprint(text: str) -> int:
    """Return 64 bits that are equal for texts that differ in white space alone."""
    normalised = " ".join(text.split())
    return int.from_bytes(hashlib.blake2b(normalised.encode("utf-8"), digest_size=8).digest(), "little")


class _Ranked(NamedTuple):
    hash: int
    fingerprint: int
    document: Document


@dataclass
class _Smallest:
    """The documents with the `size` smallest (hash, fingerprint), one for each fingerprint, from any order of arrival.

    A document that was let go never has to come back: what is held only ever gets smaller. Fingerprints in
    `passed_over` are counted and not held.
    """

    size: int
    passed_over: Container[int]
    held: dict[int, tuple[int, Document]] = field(default_factory=dict)  # fingerprint: (hash, document)
    heap: list[tuple[int, int]] = field(default_factory=list)  # (-hash, -fingerprint), among them replaced ones
    hashes: "array[int]" = field(default_factory=lambda: array("Q"))  # of every document, to count duplicates
    fingerprints: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, hash: int, fingerprint: int, document: Document, text: str) -> None:
        """Hold `document`, with `text` for its text, if it belongs to the smallest so far."""
        self.hashes.append(hash)
        self.fingerprints.append(fingerprint)
        if fingerprint in self.passed_over:
            return
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

    def ranked(self) -> list[_Ranked]:
        """Return what is held, in order."""
        keys = sorted((hash, fingerprint) for fingerprint, (hash, _) in self.held.items())
        return [_Ranked(hash, fingerprint, self.held[fingerprint][1]) for hash, fingerprint in keys]

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


class SplitDocuments(NamedTuple):
    """`rounds[0]` are the documents held out for measurement, `rounds[k]` those of round k; `dropped` counts by reason."""

    rounds: list[list[Document]]
    dropped: dict[str, int]


def split_documents(config: RunConfig) -> SplitDocuments:
    """Read the corpus of `config` and choose the documents of every round; the last one may get fewer than it asks for.

    Raises CorpusError when nothing is left for the last round.
    """
    measured = config.applied_measure
    held_out = measured.documents if isinstance(measured, SelfJudgedMeasure) else 0
    counts = [held_out, *[config.synthesis.documents] * config.rounds]
    choice = choose(read_documents(config.corpus), seed=config.seed, count=sum(counts), filter=config.filter)
    documents = iter(choice.documents)
    rounds = [list(islice(documents, count)) for count in counts]
    if not rounds[-1]:
        raise CorpusError(_too_few(config, choice, held_out))
    return SplitDocuments(rounds, dict(choice.dropped))


def _too_few(config: RunConfig, choice: ChosenDocuments, held_out: int) -> str:
    """Return why the last round gets nothing: what there is, what was lost to what, and which settings would do."""
    rounds, wanted = config.rounds, config.synthesis.documents
    played = "1 round" if rounds == 1 else f"{rounds} rounds"
    fewer_held_out = min(held_out, max(1, choice.available // 5))
    each = (choice.available - fewer_held_out) // rounds
    fit = [f"measure.documents to {fewer_held_out}"] if fewer_held_out < held_out else []
    fit += [f"synthesis.documents to {each}"] if rounds > 1 else []
    ways = [f"lower {' and '.join(fit)}"] if each else []
    ways += choice.losses.advice(config.filter, held_out + (rounds - 1) * wanted + 1 - choice.available)
    asked = f"{played} of {wanted} and {held_out} held out for measurement"
    do = ", or ".join(["add documents", *ways])
    lines = [f"the corpus has {choice.available} usable documents, too few for {asked}: {do}"]
    if choice.dropped:
        lines += [f"of {choice.read} texts {choice.read - choice.available} cannot be used:", *choice.losses.lines()]
    return "\n  ".join(lines)
