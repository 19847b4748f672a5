"""Settings of rounds that make no sense together are refused, with what to do."""

from typing import Any

import pytest

from pop_selfplay.config import Frontier, RunConfig, parse_config
from pop_selfplay.errors import ConfigError
from pop_selfplay.records import Role

SERVED = {"type": "endpoint", "base_url": "http://localhost/v1", "model": "m", "weights": "m"}


def config(**changes: Any) -> RunConfig:
    plain = {"domain": "health_care", "corpus": {"type": "files", "paths": ["t/"]}, "model": SERVED}
    return parse_config({**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop": {"min_gain": 0}, "measure": {"type": "none"}}, "needs a measure"),
        ({"stop": {"min_gain": 0}, "training": {"type": "none"}}, "needs a measure"),
        ({"stop": {"patience": 0}}, "patience"),
        ({"frozen_roles": ["solver"]}, "frozen_roles"),
        ({"frozen_roles": ["judge"], "teachers": {"judge": SERVED}}, "a teacher already plays the judge"),
        ({"pairing": {"frontier": {}}, "synthesis": {"scoring": "pairwise"}}, "need absolute scores"),
        ({"pairing": {"proposer": {}}, "synthesis": {"scoring": "anchor", "problems_per_document": 2}}, "need absolute scores"),
        ({"pairing": {"frontier": {"min_mean": 0.8, "max_mean": 0.2}}}, "min_mean 0.8 must be below max_mean 0.2"),
        ({"pairing": {"proposer": {}}, "training": {"type": "grpo"}}, "training.type grpo uses no pairs"),
        ({"pairing": {"proposer": {}}}, "problems_per_document is 1: set it to 2"),
        ({"rounds": 2, "training": {"type": "grpo", "lora": {"merge": False}}}, r"need training\.lora\.merge true"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**changes)


def test_what_fits_together_is_taken() -> None:
    made = config(
        rounds=3,
        stop={"min_gain": 0.0, "gain_by": "low", "patience": 2, "min_diversity": 0.8},
        frozen_roles=["judge"],
        pairing={"frontier": {}, "proposer": {}},
        synthesis={"problems_per_document": 2},
    )
    assert made.frozen_roles == [Role.JUDGE] and made.stop.any_set
    assert made.pairing.frontier == Frontier(min_mean=0.2, max_mean=0.8, min_std=0.1)
    assert not config().stop.any_set
