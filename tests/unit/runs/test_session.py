"""What a session holds open, what it watches, and what it says that a role costs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import RunConfig, parse_config
from pop_selfplay.journal import Tally
from pop_selfplay.models.base import ChatModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.observer import Unwatched
from pop_selfplay.records import Role
from pop_selfplay.runs import session as session_module
from pop_selfplay.runs.session import open_session
from pop_selfplay.stages.calls import Cast


def make_config(**changes: Any) -> RunConfig:
    config = {
        "domain": "health_care",
        "corpus": {"type": "files", "paths": ["texts"]},
        "model": {"type": "simulated"},
        "training": {"type": "none"},
        "measure": {"type": "none"},
    }
    return parse_config(config | changes)


def test_every_model_is_closed_also_when_closing_another_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Failing(SimulatedChatModel):
        async def close(self) -> None:
            closed.append(self.name)
            raise OSError("cannot close")

    def opened(config: Any, *, name: str, **_: Any) -> ChatModel:
        return Failing(config, name=name)

    monkeypatch.setattr(session_module, "open_model", opened)

    async def work(cast: Cast) -> None:
        assert len({model.name for model in cast.models.values()}) == 2

    config = make_config(teachers={"judge": {"type": "simulated", "seed": 1}})
    with open_session(tmp_path / "run", config) as session, pytest.raises(OSError, match="cannot close"):
        session.play(session.policies(1), work)
    assert len(set(closed)) == 2


def test_an_observer_that_fails_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    class Broken(Unwatched):
        broken = False

        def refresh(self, tally: Tally, money: float) -> None:
            if self.broken:
                self.broken = False
                raise RuntimeError("the view broke")

    async def work(cast: Cast) -> None:
        await asyncio.sleep(0)

    observer = Broken()
    with open_session(tmp_path / "run", make_config(), observer) as session:
        observer.broken = True
        with pytest.raises(RuntimeError, match="the view broke"):
            session.play(session.policies(1), work)


def test_time_is_noted_while_it_passes_so_that_a_kill_hides_little_of_it_from_the_budget(tmp_path: Path) -> None:
    noted: list[str | None] = []

    async def work(cast: Cast) -> None:
        noted.append(cast.journal.noted("seconds/1/synthesis"))
        await asyncio.sleep(0)
        noted.append(cast.journal.noted("seconds/1/synthesis"))

    with open_session(tmp_path / "run", make_config()) as session:
        session.journal.note("seconds/1/synthesis", "3600.0")
        with session.timed("1/synthesis"):
            session.play(session.policies(1), work)
        noted.append(session.journal.noted("seconds/1/synthesis"))
    before, meanwhile, after = (float(value or 0) for value in noted)
    assert before == 3600 < meanwhile < after


def test_a_frozen_role_costs_in_every_round_what_the_starting_model_costs(tmp_path: Path) -> None:
    served = {"type": "endpoint", "base_url": "http://server.test/v1", "model": "m", "weights": "w", "prices": {"prompt": 2}}
    config = make_config(model=served, training={"type": "dpo"}, rounds=2, frozen_roles=["judge"])
    tally = Tally()
    for role in (Role.JUDGE, Role.SOLVER):
        tally.add_calls(2, role.value, "", 1, 1_000_000, 0, 0)
    with open_session(tmp_path / "run", config) as session:
        assert {used.role: used.money for used in session.usage(tally)} == {"judge": 2.0, "solver": 0.0}
