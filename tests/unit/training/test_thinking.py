"""What is said about the solver's thinking reaches whatever trains a round."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.runs.makers import make_config

from pop_selfplay import training
from pop_selfplay.config import GRPOTraining, RoleThinking
from pop_selfplay.records import PreferencePair, Role
from pop_selfplay.results.run import OtherTraining
from pop_selfplay.runs.session import open_session
from pop_selfplay.training import Observe, Origin, TrainerOnPairs, grpo

MODEL = {"type": "local", "path": "m", "thinking": {"enabled": True, "roles": {"solver": {"enabled": False}}}}


class Noting(TrainerOnPairs):
    def train(
        self,
        pairs: Sequence[PreferencePair],
        start: str,
        out: Path,
        seed: int,
        observe: Observe | None = None,
        *,
        origin: Origin | None = None,
    ) -> OtherTraining:
        return OtherTraining.model_validate(
            {role.value: self.thinking.of(role).enabled for role in (Role.SOLVER, Role.PROPOSER)}
        )


def test_a_trainer_on_pairs_knows_the_thinking_of_every_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pairs_of_round", lambda session, round_: [])
    with open_session(tmp_path / "run", make_config(model=MODEL)) as session:
        trained = Noting().train_round(session, 1, "m", tmp_path / "out")
    assert trained == OtherTraining.model_validate({"solver": False, "proposer": True})


def test_online_rl_asks_with_the_thinking_of_the_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = list[grpo.OnlineJob]()
    monkeypatch.setattr(grpo, "train_grpo", lambda job, *_: jobs.append(job))
    with open_session(tmp_path / "run", make_config(model=MODEL)) as session:
        grpo.GRPO(GRPOTraining()).train_round(session, 1, "m", tmp_path / "out")
    assert jobs[0].thinking == RoleThinking(enabled=False)
