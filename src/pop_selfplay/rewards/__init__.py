"""The rubric as a reward: sampled answers in, a number for each out, None where the judge failed.

    scoring.py        score_answers, the async core: `episode.rate_each` asks the judge, method/rewards.py shapes the reward
    rubric_reward.py  `pop_selfplay.reward`: all of it behind the signature of TRL's reward functions, with a judge of its own

Nothing here loads torch before a local judge is opened. Another trainer's signature gets a method in rubric_reward.py.
"""

from pop_selfplay.rewards.rubric_reward import RubricReward, reward
from pop_selfplay.rewards.scoring import Graded, score_answers

__all__ = ["Graded", "RubricReward", "reward", "score_answers"]
