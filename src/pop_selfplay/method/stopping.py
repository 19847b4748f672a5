"""Does another round still help? The rules that end a run early, as pure functions of its figures.

A rule returns a `Stop` that names it and says why, or None. Rounds are numbered from 1; 0 is the starting model. The next rule
goes here, its setting into `config/run.py`, and the figures it needs are gathered in `evaluation/rounds.py`.

Not in the paper, which plays one round.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pop_selfplay.stats.intervals import Estimate


class Stop(NamedTuple):
    """The name of the rule that ends the run, as in the config, and a sentence with the figures that made it."""

    rule: str
    says: str


class Climb(NamedTuple):
    """What rounds came to, one after the other: the best of them, and for each but the first its gain over the best before."""

    best: int
    gains: tuple[Estimate, ...]
    over: tuple[int, ...]


def climb(rounds: Sequence[int], gain: Callable[[int, int], Estimate]) -> Climb:
    """Go through `rounds` (at least one) and keep the best: one is better when its mean gain over the best before is above 0.

    `gain(a, b)` is what `b` has gained over `a` on the same questions.
    """
    best, gains, over = rounds[0], [], []
    for round_ in rounds[1:]:
        gains.append(gain(best, round_))
        over.append(best)
        if gains[-1].mean > 0:
            best = round_
    return Climb(best, tuple(gains), tuple(over))


def stop_by_gain(
    gains: Sequence[Estimate], *, min_gain: float, gain_by: Literal["mean", "low", "high"], patience: int
) -> Stop | None:
    """End the run when each of the last `patience` gains fails `min_gain`; `gain_by` says what of a gain is held against it.

    `gains` holds one for each round so far, over the best model before it. A gain that is not known fails.
    """
    last = gains[-patience:]
    if len(last) < patience or any(getattr(gain, gain_by) >= min_gain for gain in last):
        return None
    newest = gains[-1]
    return Stop(
        "min_gain",
        f"the {gain_by} of the gain over the best model before is {getattr(newest, gain_by):+.4f}, less than {min_gain:+.4f}"
        + (f", for {patience} rounds in a row" if patience > 1 else ""),
    )


def stop_by_diversity(share: float | None, *, min_diversity: float) -> Stop | None:
    """End the run when the problems of a round are less diverse than `min_diversity` of the first round's; None is unknown."""
    if share is None or share >= min_diversity:
        return None
    return Stop("min_diversity", f"the problems are {share:.3f} times as diverse as round 1's, less than {min_diversity:.3f}")


def stop_by_agreement(agreement: Estimate, *, min_agreement: float) -> Stop | None:
    """End the run when the truth agrees with fewer of a round's pairs than `min_agreement`; over no pair nothing is known."""
    if agreement.n == 0 or agreement.mean >= min_agreement:
        return None
    return Stop(
        "min_agreement", f"the truth agrees with {agreement.mean:.3f} of the {agreement.n} pairs, less than {min_agreement:.3f}"
    )
