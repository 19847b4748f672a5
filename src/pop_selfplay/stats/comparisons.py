"""Do two scorings of the same candidates agree? By rank, and by best against worst (paper, 5.5). Do raters agree? By κ and α.

Scorings are sequences of equal length, one score for each candidate, higher is better; only their order matters. An agreement
is in [0, 1], ties of the second scoring count half, so 0.5 is chance. None stands for "cannot be told": one scoring is flat.
The next way to compare two scorings is a function here.

Comparisons: logistic regression, Bradley-Terry strengths on the Elo scale, and AlpacaEval's length control.

The regression takes features of the games along, which are held constant; the length-controlled win rate is that of
AlpacaEval 2 (arXiv 2404.04475).
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pop_selfplay.stats.intervals import Estimate, Indices, Range, bootstrap, bootstrap_counts, bounded, clustered_mean

_FLAT: Final = 1e-9
"""A standard deviation below this is the rounding of numbers that are all the same."""


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2
        start = end
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation in [−1, 1], ties by mean rank; None where a scoring has fewer than two levels."""
    return pearson(ranks(one), ranks(other))


def pearson(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the linear correlation in [−1, 1]; None where one side does not vary."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values beside {len(other)}")
    if len(one) < 2 or min(statistics.pstdev(one), statistics.pstdev(other)) < _FLAT:
        return None
    return max(-1.0, min(1.0, statistics.correlation(one, other)))


def best_worst(scores: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return how often `truth`, too, puts the best of `scores` above the worst; where several tie for an end, the mean.

    None where `scores` are all alike: then there is no pair.
    """
    if len(scores) < 2 or max(scores) == min(scores):
        return None
    best = [t for s, t in zip(scores, truth, strict=True) if s == max(scores)]
    worst = [t for s, t in zip(scores, truth, strict=True) if s == min(scores)]
    return statistics.fmean(above(high, low) for high, low in product(best, worst))


def above(one: float, other: float) -> float:
    """Return 1 where `one` is higher, 0 where it is lower, 0.5 where they tie."""
    return 0.5 if math.isclose(one, other, rel_tol=0, abs_tol=1e-12) else float(one > other)


def kappa(one: Sequence[int], other: Sequence[int]) -> float:
    """Return Cohen's κ of two raters' categories for the same things, in [−1, 1]: 1 always agree, 0 as often as by chance.

    nan where chance alone would agree always: both use one and the same category. (Cohen 1960)
    """
    a, b = np.asarray(one), np.asarray(other)
    seen = np.union1d(a, b)
    chance = float(sum((a == category).mean() * (b == category).mean() for category in seen)) if len(a) else 1.0
    return math.nan if chance >= 1 - _FLAT else (float((a == b).mean()) - chance) / (1 - chance)


def krippendorff(units: Sequence[Sequence[float]]) -> float:
    """Return Krippendorff's α for values at interval level: `units` holds for each thing the values that people gave it.

    1 always agree, 0 as by chance; nan where fewer than two people gave values to any thing, or all values are the same.
    (Krippendorff 2011, "Computing Krippendorff's alpha-reliability")
    """
    several = [np.asarray(unit, dtype=np.float64) for unit in units if len(unit) > 1]
    values = np.concatenate(several) if several else np.zeros(0)
    if len(values) < 2:
        return math.nan
    expected = 2 * float(values.var(ddof=1))  # the mean squared difference of any two values
    observed = sum(2 * len(unit) * float(unit.var(ddof=1)) for unit in several) / len(values)
    return math.nan if expected < _FLAT else 1 - observed / expected


class Said(NamedTuple):
    """What two raters say of the same thing, as whole numbers: `about` a criterion, in the problem `id` (cluster/number)."""

    id: str
    about: str
    one: int
    other: int


def agreement_of(said: Sequence[Said]) -> Estimate:
    """Return how often both say the same, with its 95 % interval."""
    return clustered_mean([float(each.one == each.other) for each in said], [_cluster(each.id) for each in said], (0.0, 1.0))


def kappa_of(said: Sequence[Said]) -> Estimate:
    """Return Cohen's κ with its 95 % interval, by resampling clusters."""
    return _drawn(
        lambda places: kappa([said[k].one for k in places], [said[k].other for k in places]), [one.id for one in said]
    )


def alpha_of(units: Mapping[str, Sequence[float]]) -> Estimate:
    """Return Krippendorff's α with its 95 % interval; keys begin with an id (cluster/number) and a tab."""
    values = list(units.values())
    return _drawn(lambda places: krippendorff([values[k] for k in places]), [key.partition("\t")[0] for key in units])


def _drawn(statistic: Callable[[Indices], float], ids: Sequence[str]) -> Estimate:
    clusters = [_cluster(id_) for id_ in ids]
    found = bootstrap(statistic, clusters, seed=0, resamples=400)
    return bounded(found, len(set(clusters)), (-1.0, 1.0)) if math.isfinite(found.mean) else found


def corrected_mean(labels: Mapping[str, float], predicted: Mapping[str, float], within: Range) -> Estimate:
    """Return the mean label over everything that is `predicted`, with its 95 % interval; n counts the labels.

    Prediction-powered inference: the mean of the predictions is corrected by how far they are off where labels are, and counts
    with the weight that gives the least variance (PPI++: Angelopoulos, Duchi and Zrnic 2023). Poor predictions get none, and
    what is left is the mean of the labels, as with fewer than three of them. It holds when the labelled things were drawn at
    random. Keys are `cluster/number`.
    """
    ids = [id_ for id_ in labels if id_ in predicted]
    given, guessed = [labels[id_] for id_ in ids], [predicted[id_] for id_ in ids]
    others = {id_: value for id_, value in predicted.items() if id_ not in labels}
    alone = clustered_mean(given, list(map(_cluster, ids)), within)
    covariance = np.cov(given, guessed) if len(ids) > 2 and len(others) > 1 else np.zeros((2, 2))
    if covariance[1, 1] < _FLAT:
        return alone
    weight = min(1.0, max(0.0, float(covariance[0, 1] / covariance[1, 1]) / (1 + len(ids) / len(others))))
    rest = clustered_mean([y - weight * f for y, f in zip(given, guessed, strict=True)], list(map(_cluster, ids)))
    known = clustered_mean([weight * f for f in others.values()], list(map(_cluster, others)))
    if not _FLAT < rest.high - rest.mean < math.inf:
        return alone  # labels that follow from the predictions show no spread; their own interval still has a width
    mean, half = rest.mean + known.mean, math.hypot(rest.high - rest.mean, known.high - known.mean)
    low, high = within
    return Estimate(min(high, max(low, mean)), max(low, mean - half), min(high, mean + half), len(ids))


def _cluster(id_: str) -> str:
    return id_.rpartition("/")[0]


RIDGE: Final = 0.01
"""Keeps the strength of a player finite that won or lost everything."""
_ALIKE: Final = 1e-9
"""A feature that varies less is the same in all games, and cannot be told from a strength."""


class Game(NamedTuple):
    """One comparison: `score` in [0, 1] is 1 where `a` won, 0.5 for a draw; `weight` ≥ 0 is how much it counts."""

    a: str
    b: str
    score: float
    weight: float = 1.0


class Strengths(NamedTuple):
    """`by_player` in logits, 0 for the anchor; `effects` in logits for one standard deviation of each feature."""

    by_player: dict[str, float]
    effects: tuple[float, ...]


def strengths(games: Sequence[Game], anchor: str, features: Sequence[Sequence[float]] | None = None) -> Strengths:
    """Return the strengths of all players of `games`, that of `anchor` being 0.

    `features` holds one row for each game, the same length everywhere: a's side minus b's. Columns are divided by their
    standard deviation, not centred, so that an effect is 0 where both sides are alike.
    """
    players = sorted({player for game in games for player in (game.a, game.b)} - {anchor})
    place = {player: number for number, player in enumerate(players)}
    design = np.zeros((len(games), len(players)))
    for row, game in enumerate(games):
        for player, sign in ((game.a, 1.0), (game.b, -1.0)):
            if player in place:
                design[row, place[player]] += sign
    if features is not None and len(games):
        columns = np.array(features, dtype=np.float64).reshape(len(games), -1)
        spread = columns.std(axis=0)
        design = np.hstack([design, np.divide(columns, spread, out=np.zeros_like(columns), where=spread > _ALIKE)])
    targets, weights = np.array([game.score for game in games]), np.array([game.weight for game in games])
    found = fit_logistic(design, targets, weights, np.full(design.shape[1], RIDGE)).tolist()
    return Strengths({anchor: 0.0, **dict(zip(players, found, strict=False))}, tuple(found[len(players) :]))


Array = npt.NDArray[np.float64]

_STEPS: Final = 100
_TOLERANCE: Final = 1e-9


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e^−x), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def fit_logistic(design: Array, targets: Array, weights: Array, ridge: Array) -> Array:
    """Return the coefficients, shape (…, k), that best explain `targets` by sigmoid(design @ coefficients).

    `design` has shape (…, n, k), `targets` shape (n,) with values in [0, 1] (a draw is 0.5), `weights` shape (…, n) with values
    ≥ 0; what stands for … are fits of their own, made at once. `ridge`, shape (k,), above 0, is the penalty on half the square
    of each coefficient: it keeps a coefficient finite that the data would drive to infinity, and makes one that the data says
    nothing about 0.
    """
    across = np.swapaxes(design, -1, -2)
    coefficients = np.zeros((*design.shape[:-2], design.shape[-1]))
    objective = _objective(design, targets, weights, ridge, coefficients)
    going = np.ones_like(objective, dtype=bool)
    for _ in range(_STEPS):
        expected = sigmoid(_times(design, coefficients))
        gradient = _times(across, weights * (targets - expected)) - ridge * coefficients
        curvature = (across * (weights * expected * (1 - expected))[..., None, :]) @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        scale = np.ones_like(objective)
        while True:
            moved = coefficients + scale[..., None] * step
            better = _objective(design, targets, weights, ridge, moved)
            too_far = going & (better > objective) & (scale > 1e-6)  # a full step may overshoot far from the optimum
            if not too_far.any():
                break
            scale = np.where(too_far, scale / 2, scale)
        coefficients, objective = moved, np.minimum(objective, better)
        going &= np.abs(scale[..., None] * step).max(axis=-1, initial=0.0) >= _TOLERANCE
        if not going.any():
            break
    return coefficients


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _objective(design: Array, targets: Array, weights: Array, ridge: Array, coefficients: Array) -> Array:
    scores = _times(design, coefficients)
    loss = np.logaddexp(0, scores) - targets * scores
    return np.asarray((weights * loss).sum(axis=-1) + 0.5 * coefficients**2 @ ridge)


ANCHOR: Final = 1000.0
POINTS_PER_LOGIT: Final = 400 / math.log(10)


def elo(strength: float, anchor: float = ANCHOR) -> float:
    """Return the rating of a strength in logits, where strength 0 has the rating `anchor`."""
    return anchor + POINTS_PER_LOGIT * strength


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

    def win_rates(weights: Array) -> Array:
        return _win_rates(weights, *_fit(weights, targets, differences, hard))

    estimate = bootstrap_counts(win_rates, prompts, seed=seed, resamples=resamples)
    if not targets.size:
        return LengthControlled(estimate, 0.0, 0.0, None)
    coefficients = _fit(np.ones((1, targets.size)), targets, differences, hard)[1][0].tolist()
    return LengthControlled(estimate, coefficients[0], coefficients[1], None if hard is None else coefficients[2])


def _fit(weights: Array, targets: Array, differences: Array, difficulties: Array | None) -> tuple[Array, Array]:
    """Return the design of each row of `weights`, shape (rows, n, 2 or 3), and its coefficients, shape (rows, 2 or 3)."""
    shares = weights / weights.sum(axis=-1, keepdims=True)
    deviations = differences - (shares @ differences)[:, None]
    spread = np.sqrt((shares * deviations**2).sum(axis=-1, keepdims=True))
    length = np.tanh(np.divide(differences, spread, out=np.zeros_like(weights), where=spread > _ALIKE))
    columns = [np.ones_like(weights), length]
    if difficulties is not None:
        columns.append(difficulties - (shares @ difficulties)[:, None])
    design = np.stack(columns, axis=-1)
    return design, fit_logistic(design, targets, weights, np.full(design.shape[-1], RIDGE))


def _win_rates(weights: Array, design: Array, coefficients: Array) -> Array:
    without_length = design.copy()
    without_length[..., 1] = 0.0
    rates = sigmoid(_times(without_length, coefficients))
    return np.asarray((weights * rates).sum(axis=-1) / weights.sum(axis=-1))
