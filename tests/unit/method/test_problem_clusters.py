"""Of problems that nearly repeat each other one stays, whatever the order, and later rounds change nothing."""

import random

from pop_selfplay.method.problems import ProblemClusters

WORDS = "amber basin candle dapple ember fallow garnet harbour inlet jasper kelp linden marrow nettle orchard pebble".split()


def problem(seed: int, changed: int = 0) -> str:
    """Return 60 words drawn by `seed`, the last `changed` of them others."""
    words = random.Random(seed).choices(WORDS, k=60)
    return " ".join([*words[: 60 - changed], *(f"new{n}" for n in range(changed))])


def test_the_smallest_id_of_a_cluster_stays_in_whatever_order_they_come() -> None:
    problems = {"1/a/0": problem(1), "1/b/0": problem(1, 2), "1/c/0": problem(2), "1/d/0": problem(1, 4)}
    for order in (list(problems), list(problems)[::-1]):
        dropped = ProblemClusters(0.8).add_round({id_: problems[id_] for id_ in order})
        assert dropped == {"1/b/0": "1/a/0", "1/d/0": "1/a/0"}


def test_a_chain_is_one_cluster() -> None:
    chain = {f"1/{n}/0": problem(1, 4 * n) for n in range(4)}
    assert set(ProblemClusters(0.8).add_round(chain).values()) == {"1/0/0"}


def test_a_later_round_repeats_an_earlier_one_and_never_takes_its_place() -> None:
    clusters = ProblemClusters(0.8)
    assert clusters.add_round({"9/b/0": problem(1), "9/a/0": problem(1, 20)}) == {}
    assert clusters.add_round({"10/a/0": problem(1, 2)}) == {"10/a/0": "9/b/0"}


def test_different_and_empty_problems_all_stay() -> None:
    assert ProblemClusters(0.8).add_round({f"1/{n}/0": problem(n) for n in range(50)} | {"1/x/0": "", "1/y/0": "?"}) == {}
