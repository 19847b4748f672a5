"""Rewards of sampled answers from their scores, and what a batch of them shows (online RL; the paper has none).

`Shaping` holds every term of a reward: a term is added here and nowhere else, because a trainer that sums several reward
functions would count a sample whose judge failed with the other terms alone. The next sign of a gamed reward goes into `signs`.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from pop_selfplay.method.scoring import SCORES
from pop_selfplay.stats.agreement import pearson
from pop_selfplay.text.words import count_words, split_words

INVALID_SCORE: Final = SCORES[0]
"""The score of an answer that does not parse: the worst there is. No judge is asked."""
_WORDS_PER_PHRASE: Final = 4


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


def group_figures(groups: Sequence[Sequence[float | None]]) -> dict[str, float]:
    """Return mean and spread of the rewards within groups, None being no reward: what GRPO's advantages are made of.

    `reward` is the mean over groups of a group's mean, `reward_std` that of its standard deviation (n − 1), and `no_spread` the
    share of groups with fewer than two rewards or all of them alike, which teach nothing. Groups without a reward have no mean.
    """
    valid = [[reward for reward in group if reward is not None] for group in groups]
    rated = [group for group in valid if group]
    spreads = [statistics.stdev(group) for group in valid if len(group) > 1]
    figures = {"no_spread": sum(len(set(group)) < 2 for group in valid) / len(valid)}
    if rated:
        figures["reward"] = statistics.fmean(statistics.fmean(group) for group in rated)
    if spreads:
        figures["reward_std"] = statistics.fmean(spreads)
    return figures


def signs(groups: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Return signs of a reward that is being gamed, over all scored samples.

    `words` and `repetition` are means; `words_reward` and `repetition_reward` are the correlations of each with the reward,
    both as differences from the group's mean, so that problems which ask for long answers are no sign. A correlation is left
    out where one side does not vary.
    """
    scored = [[sample for sample in group if sample.reward is not None] for group in groups]
    flat = [sample for group in scored for sample in group]
    if not flat:
        return {}
    rewards = _centred([[float(sample.reward or 0.0) for sample in group] for group in scored])
    figures = {}
    for name, measure in (("words", word_count), ("repetition", repetition)):
        values = [[measure(sample.completion) for sample in group] for group in scored]
        figures[name] = statistics.fmean(value for group in values for value in group)
        related = pearson(_centred(values), rewards)
        if related is not None:
            figures[f"{name}_reward"] = related
    return figures


def word_count(text: str) -> float:
    return float(count_words(text))


def repetition(text: str) -> float:
    """Return the share of four-word phrases of `text` that it has said before, in [0, 1)."""
    words = split_words(text)
    phrases = Counter(tuple(words[start : start + _WORDS_PER_PHRASE]) for start in range(len(words) - _WORDS_PER_PHRASE + 1))
    return 1 - len(phrases) / phrases.total() if phrases else 0.0


def _centred(groups: Sequence[Sequence[float]]) -> list[float]:
    return [value - statistics.fmean(group) for group in groups for value in group]
