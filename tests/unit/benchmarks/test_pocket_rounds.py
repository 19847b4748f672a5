"""The arms of the pocket study can be held against each other: the same answers are paid for on both sides."""

import pytest
from benchmarks.pocket_rounds import ARMS, config_of

from pop_selfplay.config import GRPOTraining, PocketCorpus, RunConfig


def answers(config: RunConfig) -> int:
    """Return how many answers a run samples, over all rounds."""
    play, online = config.synthesis, config.training
    each = play.candidates + (online.grpo["num_generations"] if isinstance(online, GRPOTraining) else 0)
    return config.rounds * play.documents * play.problems_per_document * int(each)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_pays_for_as_many_answers_as_the_one_it_is_held_against(arm: str) -> None:
    config, against = config_of(arm, 5), config_of(ARMS[arm].against or arm, 5)
    assert answers(config) == answers(against)
    assert config.corpus == against.corpus and isinstance(config.corpus, PocketCorpus)
    assert config.rounds * config.synthesis.documents == against.rounds * against.synthesis.documents
    assert config.measure == against.measure and config.synthesis.scoring == against.synthesis.scoring


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.fork_of])
def test_an_arm_takes_over_calls_only_from_one_that_is_played_before_it(arm: str) -> None:
    assert list(ARMS).index(ARMS[arm].fork_of or "") < list(ARMS).index(arm)
