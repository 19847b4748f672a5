"""Accounting: what a role costs, and what a killed run remembers of its time."""

import asyncio
from pathlib import Path

from tests.unit.runs.makers import make_config

from pop_selfplay.journal import CallKey, StoredCall, Tally
from pop_selfplay.records import Completion, OnlineStep, Role
from pop_selfplay.runs.session import open_session
from pop_selfplay.stages.calls import Cast
from pop_selfplay.training import told_to


def test_time_is_noted_while_it_passes_so_that_a_kill_hides_little_of_it_from_the_budget(tmp_path: Path) -> None:
    noted: list[str | None] = []

    async def work(cast: Cast) -> None:
        noted.append(cast.journal.noted("seconds/1/synthesis"))
        await asyncio.sleep(0)
        noted.append(cast.journal.noted("seconds/1/synthesis"))

    with open_session(tmp_path / "run", make_config()) as session:
        session.journal.note("seconds/1/synthesis", "3600.0")
        with session.account.timed("1/synthesis"):
            session.casting.play(session.casting.policies(1), work)
        noted.append(session.journal.noted("seconds/1/synthesis"))
    before, meanwhile, after = (float(value or 0) for value in noted)
    assert before == 3600 < meanwhile < after


def test_the_verdicts_of_a_second_judge_cost_what_the_second_judge_does(tmp_path: Path) -> None:
    def priced(prompt: float) -> dict[str, object]:
        served = {"type": "endpoint", "base_url": "http://server.test/v1", "model": "m", "weights": "w"}
        return served | {"prices": {"prompt": prompt}}

    training = {"type": "grpo", "second_judge": priced(50)}
    with open_session(tmp_path / "run", make_config(model=priced(2), training=training)) as session:
        for episode, tokens in (("1/a/0", 1_000_000), ("train/1/a/0", 1_000_000), ("train/second_judge/1/a/0", 100_000)):
            call = StoredCall("digest", "", Completion("x", "stop", tokens, 0))
            session.journal.record_calls([(CallKey(1, episode, Role.JUDGE.value, "0", 0), call)])
        (used,) = session.account.usage(session.journal.tally)
        assert (used.prompt, used.money) == (2_100_000, 2 * 2 + 50 * 0.1)


def test_a_killed_training_has_noted_its_time(tmp_path: Path) -> None:
    with open_session(tmp_path / "run", make_config()) as session:
        with session.account.timed("1/training"):
            told_to(session)(OnlineStep(1, 2, 0.5, 1e-6, None, None, None))
            noted = float(session.journal.noted("seconds/1/training") or 0)
        assert noted > 0


def test_a_frozen_role_costs_in_every_round_what_the_starting_model_costs(tmp_path: Path) -> None:
    served = {"type": "endpoint", "base_url": "http://server.test/v1", "model": "m", "weights": "w", "prices": {"prompt": 2}}
    config = make_config(model=served, training={"type": "dpo"}, rounds=2, frozen_roles=["judge"])
    tally = Tally()
    for role in (Role.JUDGE, Role.SOLVER):
        tally.add_calls(2, role.value, "", 1, 1_000_000, 0, 0)
    with open_session(tmp_path / "run", config) as session:
        assert {used.role: used.money for used in session.account.usage(tally)} == {"judge": 2.0, "solver": 0.0}
