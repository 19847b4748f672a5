"""A reward is the score and what is laid over it; a batch of rewards shows whether the policy is gaming it."""

import math

import pytest

from pop_selfplay.method.rewards import Sample, Shaping, shaped
from pop_selfplay.rewards.scoring import group_figures, repetition, signs


def sample(completion: str, reward: float | None) -> Sample:
    return Sample(completion, completion, reward, reward)


def test_the_reward_is_the_score_unless_something_is_asked_for() -> None:
    assert shaped(1.25, "any words", Shaping(), parses=True) == 1.25


def test_an_answer_that_parses_is_paid_for_its_form() -> None:
    shaping = Shaping(format_reward=0.5)
    assert shaped(0.0, "x", shaping, parses=True) - shaped(0.0, "x", shaping, parses=False) == 0.5


def test_words_cost_by_the_hundred() -> None:
    shaping = Shaping(length_penalty=0.2)
    assert math.isclose(shaped(1.0, "word " * 250, shaping, parses=True), 1.0 - 0.5)


def test_a_sample_without_reward_changes_no_figure_of_its_group() -> None:
    assert group_figures([[1.0, None, 2.0]]) == group_figures([[1.0, 2.0]])
    assert group_figures([[1.0, None, 2.0]])["reward_std"] == pytest.approx(math.sqrt(0.5))


def test_groups_that_teach_nothing_are_counted() -> None:
    figures = group_figures([[1.0, 1.0], [None, 2.0], [None, None], [0.0, 2.0]])
    assert figures["no_spread"] == 0.75
    assert figures["reward"] == pytest.approx((1 + 2 + 1) / 3)


def test_no_reward_at_all_has_no_mean() -> None:
    assert group_figures([[None, None]]) == {"no_spread": 1.0}
    assert signs([[sample("a b", None)]]) == {}


def test_length_that_is_paid_for_shows_within_groups_only() -> None:
    long_is_better = [[sample("w " * n, n / 10) for n in (1, 2, 3)], [sample("w " * n, n / 10) for n in (4, 9)]]
    assert signs(long_is_better)["words_reward"] == pytest.approx(1)
    # The second problem asks for long answers and pays them well: no sign, for within each group all are alike in length.
    by_problem = [[sample("w", 0.0), sample("w", 0.2)], [sample("w " * 50, 1.8), sample("w " * 50, 2.0)]]
    assert "words_reward" not in signs(by_problem)


def test_repetition_is_the_share_of_phrases_said_before() -> None:
    assert repetition("one two three four five") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("too short") == 0


def test_an_answer_without_spaces_is_as_long_as_its_characters() -> None:
    chinese = "人工智能" * 100
    assert shaped(1.0, chinese, Shaping(0.0, 0.1), parses=True) == pytest.approx(0.6)
    assert repetition(chinese) > 0.9 > repetition("人工智能正在改变")
