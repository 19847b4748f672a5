"""Do texts overlap? Texts as words and runs of words; contamination by benchmarks; near-duplicates; diversity.

Normalisation: Unicode NFKC, case folded; letters, digits and their marks make words, everything else stands between
words; invisible format characters vanish. Scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese)
count one word a character. So case, punctuation, markup signs, white space and ligatures make no difference.

Contamination: a text repeats a benchmark when it shares 13 words in a row with it (GPT-3, arXiv 2005.14165, appendix C).
A benchmark text shorter than 13 words finds nothing: so few words occur by chance.

Near-duplicates: how alike two texts are is the Jaccard similarity of their sets of shingles, five words each: the share of
the shingles in either text that both have. In a text of 100 words, one changed word leaves 0.90, two leave 0.81, three 0.73.
Comparing every two texts would take too long. MinHash (Broder 1997) gives each text a signature, in which two texts
agree in each place with a chance equal to their similarity. The signature is split into bands (`Bands`, locality-sensitive
hashing), and only texts that agree in a whole band are compared. The bands are laid so that two texts at the threshold meet
with a chance of 99 % or more; the comparison itself is exact, so no text is called a near-duplicate by chance. numpy and not
datasketch: that takes 144 MB on disk with the scipy it needs, and 2.7 times as long for the signature of a 300-word text.

| diversity | range | reads |
| --- | --- | --- |
| `distinct` | (0, 1] | share of n-grams that are different ones (Li et al. 2016); falls with the amount of text |
| `vendi` | [1, n] | effective number of texts (Friedman and Dieng 2023): n where no two share a word, 1 where all are alike |
| `near_duplicate_flags` | [0, 1) | share of texts that nearly repeat an earlier one |

Diversity depends on how many texts there are: compare sets of equal size only. Its interval is made from random halves and not
from a bootstrap, which draws texts twice, and a text drawn twice looks like lost diversity (but for near-duplicates, which are
found once, among all texts). The next measure is a function here and a field of `Diversity`.
"""

import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pop_selfplay.seeds import derive_seed
from pop_selfplay.stats.intervals import SHARES, Estimate, clustered_mean

Hashes = npt.NDArray[np.uint64]

BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed: the base of the rolling hash
_WITHOUT_SPACES: Final = (
    *("CJK", "HIRAGANA", "KATAKANA", "YI SYLLABLE", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
    *("BALINESE", "JAVANESE", "NEW TAI LUE", "TAI LE", "TAI THAM", "TAI VIET"),
)


class _Normalised(dict[int, str]):
    """What stands for each character, by code point, worked out when it first comes up."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf":
            made = ""
        elif category[0] not in "LNM":
            made = " "
        elif unicodedata.name(character, "").startswith(_WITHOUT_SPACES):
            made = f" {character} "
        else:
            made = character
        self[code] = made
        return made


_NORMALISED: Final = _Normalised()


def normalised_words(text: str) -> list[str]:
    """Return the words of `text`, normalised as the module says."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_NORMALISED).split()


def shingles(words: Sequence[str], size: int) -> Hashes:
    """Return a 64-bit hash for every `size` (≥ 1) words in a row, in order: [len(words) - size + 1], or none if fewer.

    Equal on every machine. Shingles that differ get the same hash about once in 2**64 pairs, or once in 2**32 if they
    differ in one word alone.
    """
    count = len(words) - size + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    codes = np.fromiter((zlib.crc32(word.encode("utf-8")) for word in words), dtype=np.uint64, count=len(words))
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(size):
        hashes = hashes * BASE + codes[offset : offset + count]
    return hashes


CONTAMINATION_WORDS: Final = 13


@dataclass(frozen=True, eq=False, slots=True)
class BenchmarkIndex:
    """Every 13 words in a row of some benchmarks, as sorted 64-bit hashes: 8 bytes for each."""

    hashes: Hashes


def index_benchmarks(texts: Iterable[str]) -> BenchmarkIndex:
    """Return the index of `texts`. No shingle spans two of them."""
    hashes = [shingles(normalised_words(text), CONTAMINATION_WORDS) for text in texts]
    return BenchmarkIndex(np.unique(np.concatenate([*hashes, np.empty(0, dtype=np.uint64)])))


NO_BENCHMARKS: Final = index_benchmarks([])


def contaminated(text: str, index: BenchmarkIndex) -> bool:
    """Whether `text` shares 13 words in a row with a benchmark in `index`."""
    if not index.hashes.size:
        return False
    hashes = shingles(normalised_words(text), CONTAMINATION_WORDS)
    places = np.searchsorted(index.hashes, hashes).clip(max=index.hashes.size - 1)
    return bool((index.hashes[places] == hashes).any())


SHINGLE_WORDS: Final = 5
_PERMUTATIONS: Final = 128
_RECALL: Final = 0.99


def _constants(name: str) -> Hashes:
    numbers = [derive_seed("minhash", name, place) * 2 + 1 for place in range(_PERMUTATIONS)]
    return np.array(numbers, dtype=np.uint64)[:, None]


_FACTORS: Final = _constants("factor")
_SHIFTS: Final = _constants("shift")


def shingle_set(text: str) -> Hashes:
    """Return the distinct shingles of `text`, sorted. A text of fewer than five words is one shingle, without words none."""
    words = normalised_words(text)
    return np.unique(shingles(words, min(SHINGLE_WORDS, max(1, len(words)))))


def similarity(first: Hashes, second: Hashes) -> float:
    """Return the Jaccard similarity of two sets as `shingle_set` returns them, in [0, 1]; 0 if either is empty."""
    shared = np.intersect1d(first, second, assume_unique=True).size
    return shared / (first.size + second.size - shared) if shared else 0.0


def signature(shingles: Hashes) -> Hashes:
    """Return the MinHash signature [128] of a set of at least one shingle."""
    hashed: Hashes = (shingles * _FACTORS + _SHIFTS) >> np.uint64(32)  # [128, shingles]; the upper half mixes best
    least: Hashes = hashed.min(axis=1)
    return least


def banding(threshold: float) -> tuple[int, int]:
    """Return (bands, rows): the longest bands in which two texts at the `threshold` still meet with a chance of 99 %."""
    for rows in range(_PERMUTATIONS, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _PERMUTATIONS, 1


class Bands:
    """Locality-sensitive hashing: where the sets are that share a band, and so may be alike. Holds about 2 KB for each."""

    def __init__(self, threshold: float) -> None:
        """Let sets meet that are alike from a similarity of `threshold` in (0, 1] on, with a chance of 99 %."""
        self._bands, self._rows = banding(threshold)
        self._places: dict[int, list[int]] = {}

    def keys(self, own: Hashes) -> list[int]:
        """Return one number for each band of a set of at least one shingle; sets that agree in the whole band share it."""
        rows = signature(own)[: self._bands * self._rows].reshape(self._bands, self._rows)
        keys = np.arange(self._bands, dtype=np.uint64)
        for row in rows.T:
            keys = keys * BASE + row
        return [int(key) for key in keys]

    def met(self, keys: Iterable[int]) -> list[int]:
        """Return the places, in order, that were put down under any of `keys`."""
        return sorted({place for key in keys for place in self._places.get(key, ())})

    def put(self, keys: Iterable[int], place: int) -> None:
        for key in keys:
            self._places.setdefault(key, []).append(place)


def meeting(keys: Hashes) -> npt.NDArray[np.bool_]:
    """Return which sets share a band with any other, [n], given what `Bands.keys` returns for each of them, [n, bands]."""
    shared = np.zeros(len(keys), dtype=np.bool_)
    for band in keys.T:
        _, which, counts = np.unique(band, return_inverse=True, return_counts=True)
        shared |= counts[which] > 1
    return shared


class NearDuplicates:
    """A growing set of texts of which no two are alike. Holds about 3 KB for each, besides the text itself."""

    def __init__(self, threshold: float) -> None:
        """Let texts be near-duplicates from a similarity of `threshold` in (0, 1] on."""
        self._threshold = threshold
        self._bands = Bands(threshold)
        self._texts: list[str] = []

    def add(self, text: str) -> bool:
        """Take `text` in and return True, or return False if it is a near-duplicate of a text taken in before.

        A text without any word is a near-duplicate of none.
        """
        own = shingle_set(text)
        if not own.size:
            return True
        keys = self._bands.keys(own)
        if any(similarity(own, shingle_set(self._texts[place])) >= self._threshold for place in self._bands.met(keys)):
            return False
        self._bands.put(keys, len(self._texts))
        self._texts.append(text)
        return True


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


def flattened(kernel: Kernel) -> tuple[list[float], list[float]]:
    """Return the two coordinates of each text that keep most of how alike they are: its leading principal components."""
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    values, vectors = np.linalg.eigh(centred)
    places = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    return places[:, -1].tolist(), places[:, 0].tolist()


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
