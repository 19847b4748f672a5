"""Does a text repeat a benchmark? It does when it shares 13 words in a row with it (GPT-3, arXiv 2005.14165, appendix C).

Words are compared as `core/shingles.py` normalises them. A benchmark text shorter than 13 words finds nothing: so few
words occur by chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pop_selfplay.core.shingles import Hashes, normalised_words, shingles

WORDS: Final = 13


@dataclass(frozen=True, eq=False, slots=True)
class BenchmarkIndex:
    """Every 13 words in a row of some benchmarks, as sorted 64-bit hashes: 8 bytes for each."""

    hashes: Hashes


def index_benchmarks(texts: Iterable[str]) -> BenchmarkIndex:
    """Return the index of `texts`. No shingle spans two of them."""
    hashes = [shingles(normalised_words(text), WORDS) for text in texts]
    return BenchmarkIndex(np.unique(np.concatenate([*hashes, np.empty(0, dtype=np.uint64)])))


NO_BENCHMARKS: Final = index_benchmarks([])


def contaminated(text: str, index: BenchmarkIndex) -> bool:
    """Whether `text` shares 13 words in a row with a benchmark in `index`."""
    if not index.hashes.size:
        return False
    hashes = shingles(normalised_words(text), WORDS)
    places = np.searchsorted(index.hashes, hashes).clip(max=index.hashes.size - 1)
    return bool((index.hashes[places] == hashes).any())
