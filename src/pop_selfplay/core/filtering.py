"""Words: count them, cut to them, and spread candidates over them. A word is what stands between white space.

Scripts that are written without spaces count as few words; a corpus of them needs its own `filter.min_words`.
"""

from collections.abc import Sequence

from pop_selfplay.records import Candidate


def count_words(text: str) -> int:
    return len(text.split())


def has_words(text: str, minimum: int) -> bool:
    """Whether `text` has at least `minimum` words; reads no further than it must."""
    return len(text.split(None, minimum)) >= minimum


def cut_words(text: str, maximum: int) -> str:
    """Return `text` up to the end of its word `maximum` (≥ 1), white space as it was, or all of it if it has fewer."""
    pieces = text.split(None, maximum)
    return text if len(pieces) <= maximum else text[: len(text) - len(pieces[-1])].rstrip()


def spread(candidates: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """Return `count` (≥ 1) of the candidates, evenly spaced from the shortest answer to the longest, or all if fewer.

    In the order of length in words, ties by index. The shortest and the longest are among them, when `count` is at
    least 2; a single one is the median. (Method, "The spread of candidates": every k-th by length, where k need not be
    whole here.)
    """
    ranked = sorted(candidates, key=lambda candidate: (count_words(candidate.answer), candidate.index))
    if len(ranked) <= count:
        return tuple(ranked)
    if count == 1:
        return (ranked[(len(ranked) - 1) // 2],)
    return tuple(ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count))
