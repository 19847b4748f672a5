"""The best against the worst; every problem without a pair says why."""

from collections import Counter

from pop_selfplay.pairing import Extremes, Problems, off_frontier, pick_extremes, pick_problems, spread_of
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


def verdict(*scores: float, min_mean: float = 0.2, max_mean: float = 0.8, min_std: float = 0.1) -> str | None:
    """Return why a problem with these scores is off the frontier, None where it is on it."""
    found = off_frontier(group(*scores)[1], min_mean=min_mean, max_mean=max_mean, min_std=min_std)
    return None if found is None else found.reason


def test_a_problem_that_nearly_all_answers_solve_or_nearly_none_is_off_the_frontier() -> None:
    assert verdict(2.0, 2.0, 2.0, 1.0) == "too_easy"
    assert verdict(0.0, 0.0, 0.0, 1.0) == "too_hard"
    assert verdict(2.0, 0.0, 1.0, 1.0) is None


def test_a_problem_of_middle_mean_whose_scores_hardly_vary_is_too_narrow() -> None:
    assert verdict(1.0, 1.1, 0.9) == "narrow"
    assert verdict(1.0, 1.1, 0.9, min_std=0.0) is None


def test_the_limits_of_the_band_belong_to_it() -> None:
    assert verdict(0.0, 0.8, min_std=0.0) is None  # mean 0.4 of 2: 0.2
    assert verdict(1.2, 2.0, min_std=0.0) is None  # mean 1.6 of 2: 0.8


def test_the_spread_is_that_of_scores_from_0_to_1() -> None:
    assert spread_of(group(2.0, 0.0)[1]) == 0.5
    assert spread_of(group(1.5)[1]) == 0.0


def problems(min_gap: float = 0.1, seed: int = 0, **spreads: float) -> Problems | Failure:
    return pick_problems(spreads, min_gap=min_gap, seed=seed)


def test_the_problem_whose_scores_spread_most_is_preferred_to_the_one_whose_spread_least() -> None:
    assert problems(a=0.2, b=0.5, c=0.0) == Problems("b", "c", 0.5, 0.0)


def test_problems_that_spread_alike_give_no_pair() -> None:
    picked = problems(a=0.2, b=0.25)
    assert isinstance(picked, Failure) and picked.reason == "spread_alike"
    assert isinstance(problems(a=0.2, b=0.25, min_gap=0.04), Problems)


def test_a_document_with_one_scored_problem_gives_no_pair_of_problems() -> None:
    picked = problems(a=0.5)
    assert isinstance(picked, Failure) and picked.reason == "too_few_problems"


def test_ties_among_problems_are_broken_by_the_seed() -> None:
    chosen = {p.chosen for seed in range(50) if isinstance(p := problems(seed=seed, a=0.4, b=0.4, c=0.0), Problems)}
    assert chosen == {"a", "b"}
