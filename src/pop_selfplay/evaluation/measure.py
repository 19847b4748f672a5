"""Measure the model that came out of a round, once, by whatever measure the config names, and compare first with last."""

import json
from functools import partial
from typing import Any

from pop_selfplay.config import ExamMeasure, NoMeasure
from pop_selfplay.evaluation import exam, self_judged
from pop_selfplay.records import Role
from pop_selfplay.session import Session


def measure(session: Session, round_: int) -> None:
    """Measure the model that came out of `round_` (0: the starting model), unless the journal holds the outcome already."""
    config, key, label = session.config.applied_measure, f"measure/{round_}", f"round-{round_}"
    if isinstance(config, NoMeasure) or session.journal.noted(key) is not None:
        return
    session.observer.phase("measuring the starting model" if round_ == 0 else f"round {round_}: measuring the trained model")
    play = partial(session.play, measured=Role.SOLVER)
    policies = {Role.SOLVER: round_ + 1, Role.JUDGE: 1}
    outcome: exam.ExamResult | self_judged.ProblemScores
    with session.timed(f"{max(1, round_)}/measure"):
        if isinstance(config, ExamMeasure):
            outcome = play(policies, partial(exam.sit_exam, label=label, config=config))
        elif round_ == 0:
            outcome = play(dict.fromkeys(Role, 1), partial(self_judged.score_start, config=config))
        else:
            outcome = play(policies, partial(self_judged.score_trained, label=label, config=config))
    session.journal.note(key, json.dumps(outcome))


def comparison(session: Session) -> dict[str, Any]:
    """Return the starting model's measurement against the last trained model's; empty while one of them is missing."""
    rounds = range(session.config.rounds, 0, -1)
    after = next((note for round_ in rounds if (note := session.journal.noted(f"measure/{round_}"))), None)
    before = session.journal.noted("measure/0")
    if before is None or after is None:
        return {}
    compare = exam.compare if isinstance(session.config.measure, ExamMeasure) else self_judged.compare
    return compare(json.loads(before), json.loads(after))
