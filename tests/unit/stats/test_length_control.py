"""The length-controlled win rate recovers what the model is worth when the judge's taste for length is known."""

import math
import random

import pytest

from pop_selfplay.stats.comparisons import length_controlled


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def comparisons(
    advantage: float, length: float, *, bias: float, count: int = 3000, difficulty: float = 0.0
) -> tuple[list[float], list[float], list[float]]:
    """Return preferences, length differences (mean `bias`, deviation 100) and difficulties, drawn from the model itself."""
    rng = random.Random(5)
    differences = [rng.gauss(bias, 100) for _ in range(count)]
    mean = sum(differences) / count
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / count)
    hard = [rng.gauss(0, 1) for _ in range(count)]
    logits = [advantage + length * math.tanh(d / spread) + difficulty * h for d, h in zip(differences, hard, strict=True)]
    return [float(rng.random() < sigmoid(x)) for x in logits], differences, hard


def test_a_lead_that_is_all_length_is_taken_back() -> None:
    preferences, differences, _ = comparisons(0.0, 1.5, bias=100)
    assert sum(preferences) / len(preferences) > 0.68
    found = length_controlled(preferences, differences, [str(n) for n in range(3000)], seed=1, resamples=100)
    assert found.win_rate.mean == pytest.approx(0.5, abs=0.04) and found.win_rate.low < 0.5 < found.win_rate.high
    assert found.length == pytest.approx(1.5, abs=0.25) and found.difficulty is None


def test_a_lead_hidden_by_short_answers_shows() -> None:
    preferences, differences, _ = comparisons(0.8, 1.0, bias=-100)
    found = length_controlled(preferences, differences, [str(n) for n in range(3000)], seed=1, resamples=100)
    assert found.win_rate.mean == pytest.approx(sigmoid(0.8), abs=0.03)
    assert found.win_rate.mean > sum(preferences) / len(preferences) + 0.1
    assert found.advantage == pytest.approx(0.8, abs=0.2)


def test_a_known_difficulty_of_the_prompts_is_taken_into_account() -> None:
    preferences, differences, hard = comparisons(0.4, 0.5, bias=0, difficulty=2.0)
    found = length_controlled(preferences, differences, [str(n) for n in range(3000)], seed=1, difficulties=hard, resamples=100)
    assert found.difficulty == pytest.approx(2.0, abs=0.25)
    truth = sum(sigmoid(0.4 + 2 * h) for h in hard) / len(hard)
    assert found.win_rate.mean == pytest.approx(truth, abs=0.03)


def test_equal_lengths_change_nothing_and_a_clean_sweep_stays_finite() -> None:
    found = length_controlled([1.0, 0.5, 0.0, 1.0], [0.0] * 4, list("abcd"), seed=1, resamples=100)
    assert found.win_rate.mean == pytest.approx(0.625, abs=0.002) and found.length == 0
    swept = length_controlled([1.0] * 20, [float(n) for n in range(20)], [str(n) for n in range(20)], seed=1, resamples=100)
    assert 0.9 < swept.win_rate.mean < 1 and math.isfinite(swept.advantage)


def test_comparisons_of_one_prompt_are_one_cluster_and_none_are_unknown() -> None:
    preferences, differences, _ = comparisons(0.3, 0.5, bias=0, count=200)
    apart = length_controlled(preferences, differences, [str(n) for n in range(200)], seed=1, resamples=300).win_rate
    copied = length_controlled(
        preferences * 4, differences * 4, [str(n % 200) for n in range(800)], seed=1, resamples=300
    ).win_rate
    assert copied.high - copied.low == pytest.approx(apart.high - apart.low, rel=0.25)
    assert math.isnan(length_controlled([], [], [], seed=1, resamples=300).win_rate.mean)
