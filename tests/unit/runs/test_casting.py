"""Casting: what it holds open, what it watches, and what it says that a role costs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs.makers import make_config

from pop_selfplay.config import LocalModel, Thinking
from pop_selfplay.journal import Journal, Tally
from pop_selfplay.models.base import ChatModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.observer import Unwatched
from pop_selfplay.records import Role
from pop_selfplay.runs import casting as casting_module
from pop_selfplay.runs.session import open_session
from pop_selfplay.stages.calls import Cast


def test_every_model_is_closed_also_when_closing_another_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Failing(SimulatedChatModel):
        async def close(self) -> None:
            closed.append(self.name)
            raise OSError("cannot close")

    def opened(config: Any, *, name: str, **_: Any) -> ChatModel:
        return Failing(config, name=name)

    monkeypatch.setattr(casting_module, "open_model", opened)

    async def work(cast: Cast) -> None:
        assert len({model.name for model in cast.models.values()}) == 2

    config = make_config(teachers={"judge": {"type": "simulated", "seed": 1}})
    with open_session(tmp_path / "run", config) as session, pytest.raises(OSError, match="cannot close"):
        session.casting.play(session.casting.policies(1), work)
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
            session.casting.play(session.casting.policies(1), work)


def test_a_copy_plays_the_same_models_by_the_same_names_and_keeps_its_own_account(tmp_path: Path) -> None:
    tally = Tally()
    tally.add_calls(1, Role.JUDGE.value, "", 1, 1_000_000, 0, 0)
    config = make_config(model={"type": "endpoint", "base_url": "http://server.test/v1", "model": "m", "prices": {"prompt": 2}})
    with open_session(tmp_path / "run", config) as session, Journal.open(tmp_path / "other.db") as journal:
        own = session.casting
        served = own.config.model.model_copy(update={"base_url": "http://other.test/v1", "prices": None})
        copy = own.copy(config=own.config.model_copy(update={"model": served}), journal=journal)
        names = [{player.name for player in one.players(one.policies(1)).values()} for one in (own, copy)]
        assert names[0] == names[1] and copy.journal is journal and copy.directory.path == own.directory.path
        assert (own.account.money(tally), copy.account.money(tally)) == (2.0, 0.0)


@pytest.mark.parametrize("knows", [True, False])
def test_the_trained_model_of_a_server_thinks_as_it_where_its_template_knows_how(tmp_path: Path, knows: bool) -> None:
    template = "{{ messages[0].content }}" + "{% if enable_thinking %}<think>{% endif %}" * knows
    served = {"type": "endpoint", "base_url": "http://server.test/v1", "model": "m", "thinking": {"enabled": False}}
    with open_session(tmp_path / "run", make_config(model=served)) as session:
        folder = session.directory.model_path(1)
        folder.mkdir(parents=True)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        trained = session.casting.policy(2)
    assert trained == LocalModel(path=str(folder), thinking=Thinking(enabled=False) if knows else Thinking())
