"""Texts as words, and words as shingles: what contamination and near-duplicates are found by.

Normalisation: Unicode NFKC, case folded; letters, digits and their marks make words, everything else stands between
words; invisible format characters vanish. Scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese)
count one word a character. So case, punctuation, markup signs, white space and ligatures make no difference.
"""

import unicodedata
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed: the base of the rolling hash
_WITHOUT_SPACES: Final = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


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
