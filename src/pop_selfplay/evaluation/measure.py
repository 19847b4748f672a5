"""Measure the model that came out of a round, once, by whatever measure the config names, and compare the rounds."""

import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from pop_selfplay.config import ExamMeasure, MeasureConfig, NoMeasure, SelfJudgedMeasure
from pop_selfplay.evaluation import closed_book, self_judged
from pop_selfplay.method.stopping import Climb, climb
from pop_selfplay.records import Role
from pop_selfplay.runs.lineage import note_lineage
from pop_selfplay.runs.session import Session
from pop_selfplay.stats.intervals import Estimate


def measure(session: Session, round_: int) -> None:
    """Measure the model that came out of `round_` (0: the starting model), unless the journal holds the outcome already."""
    config, key, label = session.config.applied_measure, f"measure/{round_}", f"round-{round_}"
    if isinstance(config, NoMeasure) or session.journal.noted(key) is not None:
        return
    session.observer.phase("measuring the starting model" if round_ == 0 else f"round {round_}: measuring the trained model")
    play = partial(session.casting.play, measured=Role.SOLVER)
    policies = {Role.SOLVER: round_ + 1, Role.JUDGE: 1}
    judged_start = round_ == 0 and isinstance(config, SelfJudgedMeasure)
    note_lineage(session, key, dict.fromkeys(Role, 1) if judged_start else policies, measured=Role.SOLVER)
    outcome: closed_book.ExamResult | self_judged.ProblemScores
    with session.account.timed(f"{max(1, round_)}/measure"):
        if isinstance(config, ExamMeasure):
            outcome = play(policies, partial(closed_book.sit_exam, label=label, config=config))
        elif round_ == 0:
            outcome = play(dict.fromkeys(Role, 1), partial(self_judged.score_start, config=config))
        else:
            outcome = play(policies, partial(self_judged.score_trained, label=label, config=config))
    session.journal.note(key, json.dumps(outcome))


def comparison(session: Session) -> dict[str, Any]:
    """Return the starting model's measurement against the best trained model's; empty while one of them is missing."""
    trained = [round_ for round_ in range(1, session.config.rounds + 1) if session.journal.noted(f"measure/{round_}")]
    return between(session, 0, best_of(session, trained).best) if trained else {}


def between(session: Session, before: int, after: int) -> dict[str, Any]:
    """Return what the model of round `after` came to against that of `before` (0: the start); empty while unmeasured."""
    old, new = (session.journal.noted(f"measure/{round_}") for round_ in (before, after))
    if old is None or new is None:
        return {}
    compare = closed_book.compare if isinstance(session.config.measure, ExamMeasure) else self_judged.compare
    return compare(json.loads(old), json.loads(new))


def best_of(session: Session, rounds: Sequence[int]) -> Climb:
    """Return which of the measured `rounds` (at least one) is the best by the measure's headline, and how it came about."""

    def gain(before: int, after: int) -> Estimate:
        group, mode = headline(session.config.measure)
        figures = between(session, before, after)[group][mode]["gain"]
        mean, low, high = (math.nan if figures[part] is None else figures[part] for part in ("mean", "low", "high"))
        return Estimate(mean, low, high, figures["n"])

    return climb(rounds, gain)


def headline(config: MeasureConfig) -> tuple[str, str]:
    """Return the group and mode by which rounds are held against each other: what the rounds' documents should improve."""
    return ("self_play", "greedy") if isinstance(config, ExamMeasure) else ("held_out_self_judged", "sampled")
