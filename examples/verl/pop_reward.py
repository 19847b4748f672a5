"""The rubric as verl's reward: `reward.custom_reward_function.path=examples/verl/pop_reward.py` (train.sh does it).

The rows are those of `pop export --format verl`; the judge is the server that the variable POP_JUDGE names, up to /v1.
"""

import functools
import os

import pop_selfplay as pop


@functools.cache
def reward(domain: str) -> pop.RubricReward:
    """Return the reward of a domain, the same for all answers of a process: an answer is judged once."""
    return pop.reward(judge=os.environ["POP_JUDGE"], domain=domain)


async def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, str]) -> dict[str, float]:
    """Return the score, 0 to 2. verl cannot leave an answer out: where the judge failed it gets the middle of the scale."""
    columns = {"rubric": [ground_truth], "problem": [extra_info["problem"]], "problem_id": [extra_info["problem_id"]]}
    judge = reward(data_source.removeprefix("pop/"))
    (sample,) = await judge.score_answers([extra_info["problem"]], [solution_str], **columns)
    failed = sample.reward is None
    return {"score": 1.0 if sample.reward is None else sample.reward, "judge_failed": float(failed)}
