"""When a training runs the wrong way: pure rules on its figures, strict enough that chance does not set them off.

A policy that has learned nothing gives either answer the higher reward by the toss of a coin. Both rules fire only on what a
fair coin shows less than once in ten thousand looks.
"""

import math
from collections.abc import Sequence
from typing import Final

CHANCE: Final = 1e-4
"""The most probable outcome of pure chance that still counts as wrong."""

STEPS: Final = 20
"""So many logged steps in a row must be below zero: a fair coin does that once in 2²⁰ looks."""


def under_chance(margins: Sequence[float]) -> bool:
    """Whether so few held-out pairs are in order that chance would hardly do it (a one-sided sign test).

    `margins` are rewards of chosen minus rejected, one per pair. A pair with none says nothing and is left out. Fewer than 14
    pairs can never be enough.
    """
    right = sum(margin > 0 for margin in margins)
    wrong = sum(margin < 0 for margin in margins)
    pairs = right + wrong
    return right < wrong and sum(math.comb(pairs, k) for k in range(right + 1)) / 2**pairs < CHANCE


def running_backwards(margins: Sequence[float]) -> bool:
    """Whether the mean margin of each of the last `STEPS` logged steps was below zero: pairs not yet seen get ever worse."""
    return len(margins) >= STEPS and all(margin < 0 for margin in margins[-STEPS:])
