"""The truth behind the simulated judge: every answer has a hidden quality, a hash of its text, from which all verdicts follow.

Whoever judges an answer, by whatever criterion, in whatever mode and however often, the verdicts agree with each other, up to
the grain of the ratings, a little that is each criterion's own, and a small preference for the answer shown first. So a
benchmark can hold any way of scoring against `quality`.
"""

import hashlib
import math
from typing import Final

POSITION_BIAS: Final = 0.05
"""What being shown first adds to an answer's quality in a comparison."""

_OWN_SHARE: Final = 0.2
_TORN: Final = 0.4
"""Standard deviation, in ratings, of what the judge would give; at the border of two it gives either half the time."""


def quality(answer: str) -> float:
    """Return the hidden quality of an answer, in [0, 1), uniform over answers. Space around it does not count."""
    return _unit(answer.strip())


def merit(answer: str, criterion: str) -> float:
    """Return how the answer fares on one criterion, in [0, 1): mostly its quality, a little that is the criterion's own."""
    return (1 - _OWN_SHARE) * quality(answer) + _OWN_SHARE * _unit(f"{criterion}\0{answer.strip()}")


def rating(answer: str, criterion: str) -> int:
    """Return what the judge rates the answer on one criterion: 0, 1 or 2."""
    return min(2, int(3 * merit(answer, criterion)))


def rating_odds(answer: str, criterion: str) -> tuple[float, float, float]:
    """Return how likely the judge finds 0, 1 and 2; the likeliest is `rating`, and their mean rises with `merit`."""
    middle = 3 * merit(answer, criterion) - 0.5
    weights = [math.exp(-(((value - middle) / _TORN) ** 2) / 2) for value in range(3)]
    zero, one, two = (weight / sum(weights) for weight in weights)
    return zero, one, two


def first_is_better(first: str, second: str) -> bool:
    """Tell whether the judge prefers the first answer of a comparison."""
    return quality(first) + POSITION_BIAS >= quality(second)


def marks(first: str, second: str) -> tuple[int, int]:
    """Return how the judge marks two answers side by side, from 0 to 10."""
    return round(10 * min(1.0, quality(first) + POSITION_BIAS)), round(10 * quality(second))


def _unit(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
