"""From scored candidates to preference pairs: the best against the worst (method, "Episodes to preference pairs").

Only the extremes are used because they agree with a stronger judge far more often than the full ranking does (paper, 5.5).
Drop reasons: `no_spread` (all scores alike), `length_gap` (guard against length bias), `identical` (same completion twice).

Beyond the paper: `off_frontier` tells which problems are too easy, too hard or too narrow to learn from, and `pick_problems`
pairs problems of one document by the spread they cause. The next rule of pairing goes here, its setting into `config/`.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pop_selfplay.core.seeds import derive_seed
from pop_selfplay.records import Candidate, Evaluation, Failure

BEST_SCORE: Final = 2.0
"""The best of the scores that stand by themselves (records.Evaluation); the worst is 0."""


class Extremes(NamedTuple):
    """The two ends of a group, with their scores in [0, 2]."""

    chosen: Candidate
    rejected: Candidate
    chosen_score: float
    rejected_score: float


def pick_extremes(
    candidates: Sequence[Candidate],
    evaluations: Sequence[Evaluation],
    *,
    min_std: float,
    max_word_difference: int | None,
    seed: int,
) -> Extremes | Failure:
    """Return the best and the worst scored candidate, or why the problem gives no pair.

    Ties are broken by a hash of `seed` and the candidate's text, never by position. `min_std` is compared with the population
    standard deviation of the scores, `max_word_difference` with the difference in words of the two whole completions.
    """
    by_index = {candidate.index: candidate for candidate in candidates}
    scores = [evaluation.score for evaluation in evaluations]
    if len(scores) < 2 or statistics.pstdev(scores) < min_std:
        return Failure(stage="pair", reason="no_spread", detail=f"scores {sorted(scores)!r:.200}")

    def pick(wanted: float, end: str) -> Candidate:
        tied = [by_index[evaluation.candidate] for evaluation in evaluations if evaluation.score == wanted]
        return min(tied, key=lambda candidate: (derive_seed(seed, end, candidate.completion), candidate.index))

    chosen, rejected = pick(max(scores), "chosen"), pick(min(scores), "rejected")
    unfit = unfit_pair(chosen.completion, rejected.completion, max_word_difference)
    return unfit or Extremes(chosen, rejected, max(scores), min(scores))


def unfit_pair(chosen: str, rejected: str, max_word_difference: int | None) -> Failure | None:
    """Return why two whole completions must not be a pair: they are the same, or too many words apart. None where they may."""
    if chosen == rejected:
        return Failure(stage="pair", reason="identical", detail="best and worst are the same completion")
    difference = abs(len(chosen.split()) - len(rejected.split()))
    if max_word_difference is not None and difference > max_word_difference:
        return Failure(stage="pair", reason="length_gap", detail=f"{difference} words apart")
    return None


def spread_of(evaluations: Sequence[Evaluation]) -> float:
    """Return the population standard deviation of the normalised scores (at least one), in [0, 0.5]."""
    return statistics.pstdev(evaluation.score / BEST_SCORE for evaluation in evaluations)


def off_frontier(evaluations: Sequence[Evaluation], *, min_mean: float, max_mean: float, min_std: float) -> Failure | None:
    """Return why a problem with these evaluations (at least one) is not at the solver's frontier, None where it is.

    Scores are normalised to [0, 1]: a smaller mean than `min_mean` is too hard, a larger one than `max_mean` too easy, a
    smaller standard deviation than `min_std` too narrow.
    """
    mean = statistics.fmean(evaluation.score / BEST_SCORE for evaluation in evaluations)
    if mean < min_mean:
        return Failure(stage="pair", reason="too_hard", detail=f"the mean of its scores is {mean:.3f} of the best")
    if mean > max_mean:
        return Failure(stage="pair", reason="too_easy", detail=f"the mean of its scores is {mean:.3f} of the best")
    if (std := spread_of(evaluations)) < min_std:
        return Failure(stage="pair", reason="narrow", detail=f"its scores vary by {std:.3f} of the best")
    return None


class Problems(NamedTuple):
    """Two problems of one document, by id, the one with the larger spread chosen. Spreads are in [0, 0.5]."""

    chosen: str
    rejected: str
    chosen_spread: float
    rejected_spread: float


def pick_problems(spreads: Mapping[str, float], *, min_gap: float, seed: int) -> Problems | Failure:
    """Return the problems of one document whose scores spread most and least, or why there is no such pair.

    `spreads` holds only problems that were scored: one that failed has no spread, and is neither better nor worse. Ties are
    broken by a hash of `seed` and the id.
    """
    if len(spreads) < 2:
        return Failure(stage="pair", reason="too_few_problems", detail=f"{len(spreads)} of its problems were scored")

    def pick(wanted: float, end: str) -> str:
        return min(
            (id_ for id_, spread in spreads.items() if spread == wanted), key=lambda id_: (derive_seed(seed, end, id_), id_)
        )

    most, least = max(spreads.values()), min(spreads.values())
    if most - least < min_gap:
        return Failure(stage="pair", reason="spread_alike", detail=f"spreads from {least:.3f} to {most:.3f}")
    return Problems(pick(most, "chosen"), pick(least, "rejected"), most, least)
