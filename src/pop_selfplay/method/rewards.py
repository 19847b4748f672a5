"""From what the judge said to scores, and from scores to the rewards of sampled answers (method, "Score of a candidate").

Rewards are for online RL, which the paper does not have.
"""

import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from pop_selfplay.method.parsing import Marks, Side
from pop_selfplay.records import Comparison, Rating, Rubric
from pop_selfplay.text.words import count_words

SCORES: Final = (0.0, 2.0)
"""The range of all scores that stand by themselves: that of a rating. Rewards, measures and the frontier count on it."""


def score(rubric: Rubric, ratings: Sequence[Rating]) -> float:
    """Return Σ weight·rating / Σ weight over all criteria of `rubric`, in [0, 2].

    Raises ValueError unless `ratings` holds exactly one rating for each criterion: an evaluation that leaves one out is no
    evaluation.
    """
    by_name = {rating.criterion: rating.rating for rating in ratings}
    names = [criterion.name for criterion in rubric.criteria]
    if len(ratings) != len(names) or set(by_name) != set(names):
        raise ValueError(f"ratings of {sorted(by_name)} do not cover the criteria {sorted(names)} once each")
    # Weights are scaled by the largest before summing, so that extreme but finite weights cannot overflow.
    largest = max(criterion.weight for criterion in rubric.criteria)
    weights = [criterion.weight / largest for criterion in rubric.criteria]
    weighted = sum(weight * by_name[name] for weight, name in zip(weights, names, strict=True))
    worst, best = SCORES
    return min(best, max(worst, weighted / sum(weights)))


def mean_ratings(votes: Sequence[Sequence[Rating]]) -> tuple[Rating, ...]:
    """Return the mean of several votes (≥ 1) of the same criteria in the same order, with the thoughts of the first.

    The score of the mean is the mean of the scores: a score is linear in its ratings.
    """
    return tuple(
        same[0].model_copy(update={"rating": statistics.fmean(rating.rating for rating in same)})
        for same in zip(*votes, strict=True)
    )


def win(as_a: Side, as_b: Side) -> float:
    """Return 1 for an answer that was the better one in both orders, 0 for one that never was, 0.5 where they disagree."""
    return ((as_a == "A") + (as_b == "B")) / 2


def lead(as_a: Marks, as_b: Marks) -> float:
    """Return by how much an answer was rated above the other one, the mean over both orders, in [−10, 10]."""
    return ((as_a.a - as_a.b) + (as_b.b - as_b.a)) / 2


def comparison_score(comparisons: Sequence[Comparison]) -> float:
    """Return the mean over all comparisons (≥ 1) of a candidate: its win rate (pairwise), its lead (anchor)."""
    return statistics.fmean(comparison.score for comparison in comparisons)


INVALID_SCORE: Final = SCORES[0]
"""The score of an answer that does not parse: the worst there is. No judge is asked."""


class Shaping(NamedTuple):
    """What a reward is made of besides the score: reward = score + format_reward·[parses] − length_penalty·words/100.

    Both weights are ≥ 0, in points of the score (0 to 2); words are those of the whole completion, reasoning included.
    """

    format_reward: float = 0.0
    length_penalty: float = 0.0


class Sample(NamedTuple):
    """A sampled answer and what became of it.

    `answer` is None where the completion does not parse; then the score is `INVALID_SCORE`. `score` and `reward` are None where
    the judge failed. In both cases `reason` is the parser's word for it, else "".
    """

    completion: str
    answer: str | None
    score: float | None
    reward: float | None
    reason: str = ""


def shaped(score: float, completion: str, shaping: Shaping, *, parses: bool) -> float:
    """Return the reward of an answer with `score`."""
    return score + shaping.format_reward * parses - shaping.length_penalty * count_words(completion) / 100
