"""The figures of the held-out pairs."""

import math
import subprocess
import sys

import pytest

from pop_selfplay.training.offline_trainer import LogProbs, compare_held_out


def test_rewards_are_gains_in_log_probability_times_beta() -> None:
    before = LogProbs(chosen=[-10.0, -3.0, -8.0], rejected=[-9.0, -5.0, -8.0])
    after = LogProbs(chosen=[-8.0, -4.0, -8.0], rejected=[-9.0, -5.0, -12.0])
    figures = compare_held_out(before, after, beta=0.1)
    assert (figures.likelier_before, figures.likelier_after) == (1 / 3, 1.0)
    assert figures.reward_accuracy == 2 / 3
    assert math.isclose(figures.reward_margin, 0.1 * (2 - 1 + 4) / 3)


def test_an_untrained_policy_has_no_reward() -> None:
    same = LogProbs(chosen=[-1.0], rejected=[-2.0])
    figures = compare_held_out(same, same, beta=1.0)
    assert (figures.reward_accuracy, figures.reward_margin, figures.likelier_after) == (0, 0, 1)


def test_both_sides_must_hold_the_same_pairs() -> None:
    with pytest.raises(ValueError, match="longer"):
        compare_held_out(LogProbs([-1.0, -1.0], [-1.0, -1.0]), LogProbs([-1.0], [-1.0]), beta=1.0)


def test_the_room_itself_loads_no_torch() -> None:
    code = (
        "import sys, pop_selfplay.training; sys.exit(bool({'torch', 'trl', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
