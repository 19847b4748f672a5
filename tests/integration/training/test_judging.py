"""The judges of an online training: what both of them are asked counts against one budget."""

from pathlib import Path

import pytest
from tests.integration.runs import simulated_config, write_texts

from pop_selfplay.config import Budget, GRPOTraining, SimulatedModel
from pop_selfplay.errors import BudgetSpent
from pop_selfplay.pairing import paired
from pop_selfplay.rewards.scoring import sound
from pop_selfplay.runs.session import Session, open_session
from pop_selfplay.selfplay import play_synthesis
from pop_selfplay.training.grpo import judge_of


def tokens(session: Session) -> int:
    return session.journal.tally.total_tokens("prompt") + session.journal.tally.total_tokens("generated")


def test_two_judges_share_one_budget(tmp_path: Path) -> None:
    training = GRPOTraining(second_judge=SimulatedModel(seed=1))
    config = simulated_config(write_texts(tmp_path / "texts", 8), documents=4).model_copy(update={"model": SimulatedModel()})
    with open_session(tmp_path / "run", config) as session:
        play_synthesis(session)
        made = paired(session.journal, 1, session.domain, config.pairing, config.seed)
        asked = [next(iter(sound(made))).graded] * 8

        def answers(word: str) -> list[str]:
            return [f"<answer>{word} {number}</answer>" for number in range(8)]

        before = tokens(session)
        with judge_of(session, 1, training) as score:
            score(asked, answers("first"), [True] * 8)
        budget = tokens(session) + (tokens(session) - before) * 3 // 4  # more than one judge spends, less than both
        session.directory.config = config.model_copy(update={"budget": Budget(tokens=budget)})
        with judge_of(session, 1, training) as score, pytest.raises(BudgetSpent):
            score(asked, answers("second"), [True] * 8)
        assert tokens(session) >= budget
