"""Comparing: both orders or nothing, ties without a call, and the judge's failure never counts against an answer."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pop_selfplay.episode import rate
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Candidate, Evaluation, Failure
from tests.unit.stages.scripted import PROBLEM, RUBRIC, Scripted, candidates, play

Judge = Callable[[str, str], str]
ANSWERS = re.compile(r"<answer_a>\n(.*?)\n</answer_a>\n\n<answer_b>\n(.*?)\n</answer_b>", re.DOTALL)


def shown(request: ChatRequest) -> tuple[str, str]:
    """Return answer A and answer B of a judge's prompt."""
    found = ANSWERS.search(request.messages[-1].content)
    assert found is not None
    return found[1], found[2]


def scored(says: Judge, group: tuple[Candidate, ...], scoring: str, **synthesis: Any) -> tuple[dict[int, float], Scripted]:
    """Return the score of each candidate that has one, and the model with its requests."""
    model = Scripted(lambda request: says(*shown(request)))
    settings = {"scoring": scoring, "min_valid_share": 0, **synthesis}
    found = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, group, 1), **settings)
    assert not isinstance(found, Failure), found
    return {evaluation.candidate: evaluation.score for evaluation in found}, model


def longer_wins(a: str, b: str) -> str:
    return f"<better_answer>{'A' if len(a) > len(b) else 'B'}</better_answer>"


def length(a: str, b: str) -> str:
    return f"<rating_A>{len(a.split())}</rating_A>\n<rating_B>{len(b.split())}</rating_B>"


def test_pairwise_scores_are_mean_win_rates_over_both_orders_of_every_pair() -> None:
    scores, model = scored(longer_wins, candidates("a", "a b", "a b c"), "pairwise")
    assert scores == {0: 0, 1: 0.5, 2: 1}
    assert Counter(map(shown, model.requests)) == Counter(
        (a, b) for a in ("a", "a b", "a b c") for b in ("a", "a b", "a b c") if a != b
    )
    assert {request.stop for request in model.requests} == {"</better_answer>"}
    assert len({request.seed for request in model.requests}) == 6


def test_a_judge_that_always_prefers_one_place_makes_draws() -> None:
    scores, _ = scored(lambda a, b: "<better_answer>A</better_answer>", candidates("x", "y", "z"), "pairwise")
    assert set(scores.values()) == {0.5}


def test_an_order_that_does_not_parse_voids_the_comparison_for_both() -> None:
    def judge(a: str, b: str) -> str:
        return "nobody knows" if (a, b) == ("a", "a b") else longer_wins(a, b)

    scores, _ = scored(judge, candidates("a", "a b", "a b c"), "pairwise", judge={"attempts": 2})
    assert scores == {0: 0, 1: 0, 2: 1}


def test_a_candidate_without_a_valid_comparison_has_no_score() -> None:
    def judge(a: str, b: str) -> str:
        return "broken" if "odd" in (a, b) else longer_wins(a, b)

    scores, _ = scored(judge, candidates("odd", "a b", "a b c"), "pairwise", judge={"attempts": 1})
    assert scores == {1: 0, 2: 1}
    model = Scripted(lambda _: "broken")
    found = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("x", "y"), 1), scoring="pairwise")
    assert isinstance(found, Failure) and (found.stage, found.reason) == ("judge", "too_few_scored")


@pytest.mark.parametrize(("share", "calls"), [(False, 4), (True, 2)])
def test_identical_answers_tie_without_a_call_and_can_share_their_comparisons(share: bool, calls: int) -> None:
    scores, model = scored(longer_wins, candidates("same", "same", "longer one"), "pairwise", share_identical=share)
    assert scores == {0: 0.25, 1: 0.25, 2: 1}
    assert len(model.requests) == calls


def test_the_anchor_is_the_candidate_of_median_length_and_leads_itself_by_nothing() -> None:
    scores, model = scored(length, candidates("a b c d e", "a", "a b c"), "anchor")
    assert scores == {0: 2, 1: -2, 2: 0}
    assert {frozenset(shown(request)) for request in model.requests} == {
        frozenset({"a b c d e", "a b c"}),
        frozenset({"a", "a b c"}),
    }
    assert len(model.requests) == 4 and {request.stop for request in model.requests} == {"</rating_B>"}


def test_a_lead_counts_the_answer_and_not_its_place() -> None:
    scores, _ = scored(lambda a, b: "<rating_A>9</rating_A><rating_B>2</rating_B>", candidates("x", "y", "z"), "anchor")
    assert set(scores.values()) == {0}


def test_a_rating_that_does_not_parse_leaves_only_that_candidate_without_a_score() -> None:
    def judge(a: str, b: str) -> str:
        return "<rating_A>12</rating_A>" if a == "bad one here" else length(a, b)

    scores, _ = scored(judge, candidates("bad one here", "a", "a b"), "anchor", judge={"attempts": 2})
    assert scores == {1: -1, 2: 0}


def test_votes_are_averaged_and_each_has_its_own_seed() -> None:
    verdicts = iter("AABB" * 10)

    def judge(a: str, b: str) -> str:
        return f"<better_answer>{next(verdicts)}</better_answer>"

    scores, model = scored(judge, candidates("x", "y"), "pairwise", votes=2, judge={"temperature": 0.7})
    assert len(model.requests) == 4 == len({request.seed for request in model.requests})
    assert sum(scores.values()) == 1


def test_evaluations_say_whom_a_candidate_was_compared_with() -> None:
    model = Scripted(lambda request: longer_wins(*shown(request)))
    found = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a", "a b", "a b c"), 1), scoring="pairwise")
    assert not isinstance(found, Failure) and all(isinstance(e, Evaluation) and not e.ratings for e in found)
    assert [[(c.against, c.score) for c in e.comparisons] for e in found] == [
        [(1, 0), (2, 0)],
        [(0, 1), (2, 0)],
        [(0, 1), (1, 1)],
    ]
