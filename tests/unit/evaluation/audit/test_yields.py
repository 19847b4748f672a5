"""What a pair costs is the whole cost over all kept pairs, whoever paid for them."""

import math

import pytest

from pop_selfplay.evaluation.audit.yields import for_each_pair


def test_a_pair_that_cost_nothing_here_is_a_pair_all_the_same() -> None:
    found = for_each_pair([100.0, 300.0, 0.0, 0.0], [1, 0, 1, 1], ["a", "b", "c", "d"], seed=0)
    assert found.mean == pytest.approx(400 / 3) and found.n == 3


def test_few_pairs_may_cost_anything() -> None:
    found = for_each_pair([10.0] * 20, [1.0] + [0.0] * 19, [str(n) for n in range(20)], seed=0)
    assert found.mean == pytest.approx(200) and found.high == math.inf and 40 <= found.low < 200


def test_pairs_that_all_cost_the_same_cost_just_that() -> None:
    assert for_each_pair([5.0] * 8, [1.0] * 8, [str(n) for n in range(8)], seed=0)[:3] == pytest.approx((5, 5, 5))
