"""The hidden quality of answers, and the verdicts that follow from it in every mode."""

import random
import statistics

import pytest
from tests.unit.models.makers import make_request

from pop_selfplay.config import SimulatedModel
from pop_selfplay.method.parsing import Marks, Parsed, parse_better, parse_marks
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.prose import LENGTHS, length, prose, quality, rating
from pop_selfplay.records import Role

ANSWERS = [f"Answer number {number}." for number in range(200)]
MODEL = SimulatedChatModel(SimulatedModel())


def judged(system: str, user: str) -> str:
    return MODEL.write(make_request(user, system=system, role=Role.JUDGE)).text


def test_quality_is_spread_evenly_and_does_not_see_space_around_the_answer() -> None:
    found = [quality(answer) for answer in ANSWERS]
    assert statistics.fmean(found) == pytest.approx(0.5, abs=0.06) and max(found) > 0.95 and min(found) < 0.05
    assert [quality(f"\n{answer}  ") for answer in ANSWERS] == found


def test_ratings_rise_with_quality() -> None:
    by_rating = [[quality(answer) for answer in ANSWERS if rating(answer, "Dose") == value] for value in range(3)]
    means = [statistics.fmean(qualities) for qualities in by_rating]
    assert means == sorted(means) and means[2] - means[0] > 0.5


@pytest.mark.parametrize("tags", [("answer_a", "answer_b"), ("answer_A", "answer_B")])
def test_comparisons_agree_with_quality_but_for_a_small_preference_for_the_first(tags: tuple[str, str]) -> None:
    for one, other in zip(ANSWERS[::2], ANSWERS[1::2], strict=True):
        shown = f"<{tags[0]}>\n{one}\n</{tags[0]}>\n<{tags[1]}>\n{other}\n</{tags[1]}>"
        better, marked = parse_better(judged("<better_answer>", shown)), parse_marks(judged("<rating_A>", shown))
        assert isinstance(better, Parsed) and isinstance(marked, Parsed)
        lead = quality(one) - quality(other)
        assert better.value == ("A" if lead + 0.05 >= 0 else "B")
        assert marked.value == Marks(round(10 * min(1, quality(one) + 0.05)), round(10 * quality(other)))


def test_prose_has_just_the_words_asked_for_at_a_third_more_tokens_than_words() -> None:
    rng = random.Random(0)
    for words in (3, 11, 12, 13, 280):
        assert len(prose(rng, words).split()) == words
    characters = len(prose(rng, 5000))
    assert characters / 4 / 5000 == pytest.approx(1.33, abs=0.05)


def test_realistic_answers_have_the_median_and_spread_they_are_said_to_have() -> None:
    rng, lengths = random.Random(0), LENGTHS["realistic"]
    found = [length(rng, lengths.answer, lengths.spread) for _ in range(2000)]
    assert statistics.median(found) == pytest.approx(280, rel=0.03)
    assert statistics.quantiles(found, n=100)[83] == pytest.approx(280 * 2.718 ** (0.3 * 0.994), rel=0.05)


def test_a_run_away_fills_all_tokens_and_never_closes_its_tag() -> None:
    model = SimulatedChatModel(SimulatedModel(runaway_rate=1))
    completion = model.write(make_request(max_tokens=500, stop="</answer>"))
    assert (completion.finish_reason, completion.generated_tokens) == ("length", 500)
    assert "<answer>" in completion.text and "</answer>" not in completion.text
