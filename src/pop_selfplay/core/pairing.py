"""From scored candidates to preference pairs: the best against the worst (method, "Episodes to preference pairs").

Only the extremes are used because they agree with a stronger judge far more often than the full ranking does (paper, 5.5).
Drop reasons: `no_spread` (all scores alike), `length_gap` (guard against length bias), `identical` (same completion twice).
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pop_selfplay.core.seeds import derive_seed
from pop_selfplay.records import Candidate, Evaluation, Failure


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
    if chosen.completion == rejected.completion:
        return Failure(stage="pair", reason="identical", detail="best and worst are the same completion")
    difference = abs(len(chosen.completion.split()) - len(rejected.completion.split()))
    if max_word_difference is not None and difference > max_word_difference:
        return Failure(stage="pair", reason="length_gap", detail=f"{difference} words apart")
    return Extremes(chosen, rejected, max(scores), min(scores))
