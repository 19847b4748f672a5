"""How diverse are some texts? Distinct n-grams, the Vendi score over TF-IDF, near-duplicates.

| measure | range | reads |
| --- | --- | --- |
| `distinct` | (0, 1] | share of n-grams that are different ones (Li et al. 2016); falls with the amount of text |
| `vendi` | [1, n] | effective number of texts (Friedman and Dieng 2023): n where no two share a word, 1 where all are alike |
| `near_duplicate_flags` | [0, 1) | share of texts that nearly repeat an earlier one, by five-word shingles |

All depend on how many texts there are: compare sets of equal size only. Words are those of `text/overlap.py`. An interval is
made from random halves and not from a bootstrap, because a bootstrap draws texts twice, and a text drawn twice looks like lost
diversity (but for near-duplicates, which are found once, among all texts). The next measure is a function here and a field of
`Diversity`.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pop_selfplay.stats.intervals import SHARES, Estimate, clustered_mean
from pop_selfplay.text.overlap import NearDuplicates, normalised_words

Kernel = npt.NDArray[np.float64]
"""How alike every two texts are: [n, n], symmetric, 1 on the diagonal."""

HALVES: Final = 200
_Z95: Final = 1.959963984540054


class Diversity(NamedTuple):
    """The measures of one set of texts."""

    distinct_1: Estimate
    distinct_2: Estimate
    vendi: Estimate
    near_duplicates: Estimate


def distinct(texts: Sequence[str], size: int) -> float:
    """Return the share of different ones among all runs of `size` words, in (0, 1]; nan where there is no such run."""
    counts = _runs([normalised_words(text) for text in texts], size)
    total = sum(counts.values())
    return len(counts) / total if total else math.nan


def tfidf(texts: Sequence[str], corpus: Sequence[str] | None = None) -> Kernel:
    """Return the TF-IDF vectors of `texts`, [n, words], each of length 1.

    The weight of a word is its count times ln((1 + N) / (1 + df)) + 1, where N and df count the texts of `corpus` (by default
    `texts`). A text without words has a dimension that it shares with other such texts.
    """
    words = [normalised_words(text) or [""] for text in texts]
    known = words if corpus is None else [normalised_words(text) or [""] for text in corpus]
    frequency = Counter(word for one in known for word in set(one))
    places = {word: place for place, word in enumerate(sorted({word for one in words for word in one}))}
    vectors = np.zeros((len(words), len(places)))
    for row, one in enumerate(words):
        for word, count in Counter(one).items():
            vectors[row, places[word]] = count * (math.log((1 + len(known)) / (1 + frequency[word])) + 1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: Kernel = vectors / np.where(norms == 0, 1.0, norms)
    return normalised


def similarities(texts: Sequence[str], corpus: Sequence[str] | None = None) -> Kernel:
    """Return the cosine similarity of every two texts by their `tfidf`, [n, n], in [0, 1]."""
    vectors = tfidf(texts, corpus)
    kernel: Kernel = vectors @ vectors.T
    return kernel


def vendi(kernel: Kernel) -> float:
    """Return exp of the entropy of the eigenvalues of `kernel` / n: the effective number of different texts, in [1, n].

    nan where there are no texts.
    """
    count = len(kernel)
    if not count:
        return math.nan
    shares = np.linalg.eigvalsh(kernel / count)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def near_duplicate_flags(texts: Sequence[str], threshold: float) -> list[bool]:
    """Return for each text whether an earlier one has a Jaccard similarity to it of `threshold`, in (0, 1], or more."""
    seen = NearDuplicates(threshold)
    return [not seen.add(text) for text in texts]


def diversity(texts: Sequence[str], *, near: float, seed: int, corpus: Sequence[str] | None = None) -> Diversity:
    """Return all measures of `texts`, one text for each document, with 95 % intervals over documents.

    `near` is the threshold of `near_duplicate_flags`, `corpus` what `tfidf` weighs words by.
    """
    words = [normalised_words(text) for text in texts]
    kernel = similarities(texts, corpus)

    def of(size: int) -> Callable[[Sequence[int]], float]:
        def measured(chosen: Sequence[int]) -> float:
            counts = _runs([words[place] for place in chosen], size)
            return len(counts) / max(1, sum(counts.values()))

        return measured

    return Diversity(
        _as_share(by_halves(len(texts), of(1), seed)),
        _as_share(by_halves(len(texts), of(2), seed)),
        by_halves(len(texts), lambda chosen: vendi(kernel[np.ix_(chosen, chosen)]), seed),
        clustered_mean([float(flag) for flag in near_duplicate_flags(texts, near)], range(len(texts)), SHARES),
    )


def by_halves(count: int, measure: Callable[[Sequence[int]], float], seed: int, halves: int = HALVES) -> Estimate:
    """Return `measure` of the places 0 to `count` − 1 with a 95 % interval from random halves (the delete-half jackknife).

    The spread of a statistic over halves drawn without replacement is its standard error on the whole (Shao and Wu 1989).
    Fewer than 4 places give an infinite interval.
    """
    if count == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    whole = measure(range(count))
    if count < 4:
        return Estimate(whole, -math.inf, math.inf, count)
    rng = np.random.default_rng(seed)
    drawn = [measure([int(place) for place in rng.permutation(count)[: count // 2]]) for _ in range(halves)]
    kept = count // 2
    half = _Z95 * float(np.std(drawn)) * math.sqrt(kept / (count - kept))
    return Estimate(whole, whole - half, whole + half, count)


def _as_share(estimate: Estimate) -> Estimate:
    """Return the estimate of a share with an interval that does not leave [0, 1]; an infinite one stays."""
    if math.isinf(estimate.high):
        return estimate
    return estimate._replace(low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def _runs(texts: Sequence[Sequence[str]], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for words in texts for start in range(len(words) - size + 1))
