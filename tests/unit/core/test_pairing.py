"""The best against the worst; every problem without a pair says why."""

from collections import Counter

from pop_selfplay.core.pairing import Extremes, pick_extremes
from pop_selfplay.records import Candidate, Evaluation, Failure


def group(*scores: float, texts: list[str] | None = None) -> tuple[list[Candidate], list[Evaluation]]:
    texts = texts or [f"answer number {index}" for index in range(len(scores))]
    candidates = [Candidate(index=index, completion=text, answer=text) for index, text in enumerate(texts)]
    return candidates, [Evaluation(candidate=index, ratings=(), score=s) for index, s in enumerate(scores)]


def extremes(*scores: float, texts: list[str] | None = None, seed: int = 0, gap: int | None = 100) -> Extremes | Failure:
    return pick_extremes(*group(*scores, texts=texts), min_std=0.001, max_word_difference=gap, seed=seed)


def test_the_highest_score_is_chosen_and_the_lowest_rejected() -> None:
    picked = extremes(1.0, 2.0, 0.5, 1.5)
    assert isinstance(picked, Extremes)
    assert (picked.chosen.index, picked.rejected.index) == (1, 2)
    assert (picked.chosen_score, picked.rejected_score) == (2.0, 0.5)


def test_scores_that_do_not_spread_give_no_pair() -> None:
    for scores in ((1.0, 1.0, 1.0), (1.0,), (), (1.0, 1.0005)):
        picked = extremes(*scores)
        assert isinstance(picked, Failure) and picked.reason == "no_spread"


def test_completions_too_far_apart_in_length_give_no_pair_unless_the_guard_is_off() -> None:
    texts = ["short", "word " * 102]
    picked = extremes(2.0, 0.0, texts=texts)
    assert isinstance(picked, Failure) and picked.reason == "length_gap"
    assert isinstance(extremes(2.0, 0.0, texts=texts, gap=None), Extremes)
    assert isinstance(extremes(2.0, 0.0, texts=["short", "word " * 101]), Extremes)


def test_one_completion_is_never_paired_with_itself() -> None:
    picked = extremes(2.0, 0.0, texts=["same", "same"])
    assert isinstance(picked, Failure) and picked.reason == "identical"


def test_ties_are_broken_by_the_seed_and_not_by_position() -> None:
    first = Counter(p.chosen.index for seed in range(400) if isinstance(p := extremes(2.0, 2.0, 2.0, 0.0, seed=seed), Extremes))
    assert set(first) == {0, 1, 2} and min(first.values()) > 90


def test_a_tie_goes_to_the_same_text_in_whatever_order_the_candidates_come() -> None:
    texts = ["alpha", "beta", "gamma", "delta"]
    one, other = extremes(2, 2, 0, 0, texts=texts, seed=3), extremes(0, 0, 2, 2, texts=texts[::-1], seed=3)
    assert isinstance(one, Extremes) and isinstance(other, Extremes)
    assert (one.chosen.completion, one.rejected.completion) == (other.chosen.completion, other.rejected.completion)
