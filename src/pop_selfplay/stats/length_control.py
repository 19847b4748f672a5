"""The win rate with the judge's taste for length taken out: the regression of AlpacaEval 2 (arXiv 2404.04475).

    logit P(A is preferred) = advantage + length · tanh(Δ / std(Δ)) + difficulty · d

Δ is A's length minus B's on the same prompt, d how difficult the prompt is. The length-controlled win rate is the mean over
prompts of that probability without the length term: what it would be if both answers always were of one length.

Difference: AlpacaEval fits d once, over many models, and a model's own difficulty effect upon it. Two models alone cannot tell
a difficult prompt from a bad answer, so here d must be given (it is centred here), and is left out where it is not.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pop_selfplay.stats.bootstrap import Indices, bootstrap
from pop_selfplay.stats.bradley_terry import Array, fit_logistic, sigmoid
from pop_selfplay.stats.intervals import Estimate

RIDGE: Final = 0.01
"""Keeps coefficients finite where one side wins everything; as weak as one hundredth of a comparison."""

RESAMPLES: Final = 1000


class LengthControlled(NamedTuple):
    """`win_rate` of A in [0, 1] with its interval; the coefficients: `length` > 0 means that longer answers are preferred."""

    win_rate: Estimate
    advantage: float
    length: float
    difficulty: float | None


def length_controlled(
    preferences: Sequence[float],
    length_differences: Sequence[float],
    prompts: Sequence[str],
    *,
    seed: int,
    difficulties: Sequence[float] | None = None,
    resamples: int = RESAMPLES,
) -> LengthControlled:
    """Return A's length-controlled win rate over comparisons, one for each element of the sequences.

    `preferences` are in [0, 1], 1 where A is better; several comparisons of one of `prompts` are one cluster of the interval.
    """
    targets, differences = np.array(preferences, dtype=np.float64), np.array(length_differences, dtype=np.float64)
    hard = None if difficulties is None else np.array(difficulties, dtype=np.float64)

    def win_rate(indices: Indices) -> float:
        return _win_rate(*_fit(targets[indices], differences[indices], None if hard is None else hard[indices]))

    estimate = bootstrap(win_rate, prompts, seed=seed, resamples=resamples)
    if not targets.size:
        return LengthControlled(estimate, 0.0, 0.0, None)
    _, coefficients = _fit(targets, differences, hard)
    advantage, length = float(coefficients[0]), float(coefficients[1])
    return LengthControlled(estimate, advantage, length, None if hard is None else float(coefficients[2]))


def _fit(targets: Array, differences: Array, difficulties: Array | None) -> tuple[Array, Array]:
    """Return the design, shape (n, 2 or 3), and its coefficients."""
    spread = differences.std()
    length = np.tanh(differences / spread) if spread > 1e-9 else np.zeros_like(differences)
    columns = [np.ones_like(targets), length]
    if difficulties is not None:
        columns.append(difficulties - difficulties.mean())
    design = np.stack(columns, axis=1)
    return design, fit_logistic(design, targets, np.ones_like(targets), np.full(design.shape[1], RIDGE))


def _win_rate(design: Array, coefficients: Array) -> float:
    without_length = design.copy()
    without_length[:, 1] = 0.0
    return float(sigmoid(without_length @ coefficients).mean())
