"""Seeded pseudo-prose of a wanted length, how long the parts of a simulated completion are, and how good an answer is.

Sentences are drawn from a bank that is made once: a long answer costs a few microseconds, and two texts share sentences by
chance alone. Words are as short as in English, so that four characters are about a token and a word is 1.3 of them.

Every answer has a hidden quality, a hash of its text, from which all verdicts of the simulated judge follow: by whatever
criterion and mode it judges, they agree, up to the grain of the ratings, a little that is each criterion's own, and a small
preference for the answer shown first.
"""

import hashlib
import math
import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

WORDS: Final = re.findall(
    r"\w+",
    """
    amber basin candle dapple ember fallow garnet harbour inlet jasper kelp linden marrow nettle orchard pebble quarry
    raven saffron thistle umber velvet willow yarrow zephyr anchor bramble copper drift elder fern glade hollow ivory
    juniper knoll lantern meadow north ochre pine quill ridge sorrel timber upland vale winter yonder barley cinder dusk
    estuary flint grove heather island jetty kindle loam moss needle osier pollen quiver reed slate tundra
    """,
)
_LINKS: Final = re.findall(r"\w+", "the a of in on by to or and as is at so it no up we an if")
_SENTENCE_WORDS: Final = 12
_BANK_SENTENCES: Final = 4000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Median words of the parts of a completion; each length is log-normal about it, with `spread` for the answer."""

    thinking: float
    answer: float
    problem: float
    reference: float
    description: float
    gold: float
    judging: float
    """Thoughts about one criterion."""
    comparing: float
    """Thoughts about two answers."""
    criteria: tuple[int, int]
    """Fewest and most criteria of a rubric."""
    spread: float = 0.3
    thinking_for_all: bool = False
    """Whether proposer, rubric writer and judge think aloud before they write, too."""


LENGTHS: Final = {
    "brief": Lengths(20, 60, 30, 22, 13, 6, 14, 18, criteria=(1, 5), thinking_for_all=True),
    "realistic": Lengths(60, 280, 75, 75, 38, 11, 36, 110, criteria=(3, 3)),
}
"""For tests, where every word costs time, and as a 7B model answers health-care questions."""


def length(rng: random.Random, median: float, spread: float = 0.35) -> int:
    """Draw a number of words, at least 3."""
    return max(3, round(median * math.exp(rng.gauss(0.0, spread))))


def prose(rng: random.Random, words: int) -> str:
    """Return sentences of `words` words in all."""
    full, rest = divmod(words, _SENTENCE_WORDS)
    sentences = rng.choices(_bank(), k=full + (rest > 0))
    if rest:
        sentences[-1] = " ".join(sentences[-1].split(" ", rest)[:rest]) + "."
    return " ".join(sentences)


@cache
def _bank() -> list[str]:
    """Every sentence alternates nouns and little words, and so has about 5.3 characters a word, with its space."""
    rng = random.Random(0)
    return [_sentence(rng) for _ in range(_BANK_SENTENCES)]


def _sentence(rng: random.Random) -> str:
    words = [rng.choice(WORDS if rng.random() < 0.62 else _LINKS) for _ in range(_SENTENCE_WORDS)]
    return " ".join(words).capitalize() + "."


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
