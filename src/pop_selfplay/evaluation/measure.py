"""Measure the model that came out of a round, once, by whatever measure the config names, and compare the rounds.

Beside the measure stands what needs no model: how often a round's pairs agree with the truth, where that is known.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pop_selfplay.config import ExamMeasure, MeasureConfig, NoMeasure, SelfJudgedMeasure
from pop_selfplay.evaluation import closed_book, self_judged
from pop_selfplay.journal.notes import EXAM, PROBLEM_SCORES, Note
from pop_selfplay.method.stopping import Climb, climb
from pop_selfplay.pairing import paired
from pop_selfplay.pocket.world import knows_truth, truth_score
from pop_selfplay.records import Episode, PreferencePair, Role
from pop_selfplay.results.run import Measure
from pop_selfplay.runs.lineage import note_lineage
from pop_selfplay.runs.session import Session
from pop_selfplay.stats.comparisons import best_worst
from pop_selfplay.stats.intervals import SHARES, Estimate, clustered_mean

T = TypeVar("T")


def measure(session: Session, round_: int) -> None:
    """Measure the model that came out of `round_` (0: the starting model), unless the journal holds the outcome already."""
    config, label = session.config.applied_measure, f"round-{round_}"
    if isinstance(config, NoMeasure) or is_measured(session, round_):
        return
    session.observer.phase("measuring the starting model" if round_ == 0 else f"round {round_}: measuring the trained model")
    play = partial(session.casting.play, measured=Role.SOLVER)
    policies = {Role.SOLVER: round_ + 1, Role.JUDGE: 1}
    judged_start = round_ == 0 and isinstance(config, SelfJudgedMeasure)
    note_lineage(session, f"measure/{round_}", dict.fromkeys(Role, 1) if judged_start else policies, measured=Role.SOLVER)
    with session.account.timed(f"{max(1, round_)}/measure"):
        if isinstance(config, ExamMeasure):
            exam = play(policies, partial(closed_book.sit_exam, label=label, config=config))
            EXAM.write(session.journal, exam, round_)
        else:
            score = partial(self_judged.score_trained, label=label) if round_ else self_judged.score_start
            scores = play(policies if round_ else dict.fromkeys(Role, 1), partial(score, config=config))
            PROBLEM_SCORES.write(session.journal, scores, round_)


def is_measured(session: Session, round_: int) -> bool:
    """Tell whether the model that came out of `round_` is measured (0: the starting model)."""
    return EXAM.exists(session.journal, round_)  # under the same key as the other measures


def comparison(session: Session) -> Measure:
    """Return the starting model's measurement against the best trained model's; empty while one of them is missing."""
    trained = [round_ for round_ in range(1, session.config.rounds + 1) if is_measured(session, round_)]
    return between(session, 0, best_of(session, trained).best) if trained else {}


def between(session: Session, before: int, after: int) -> Measure:
    """Return what the model of round `after` came to against that of `before` (0: the start); empty while unmeasured."""
    if isinstance(session.config.measure, ExamMeasure):
        return _compared(session, EXAM, closed_book.compare, before, after)
    return _compared(session, PROBLEM_SCORES, self_judged.compare, before, after)


def _compared(session: Session, note: Note[T], compare: Callable[[T, T], Measure], before: int, after: int) -> Measure:
    old, new = (note.read(session.journal, round_) for round_ in (before, after))
    return {} if old is None or new is None else compare(old, new)


def best_of(session: Session, rounds: Sequence[int]) -> Climb:
    """Return which of the measured `rounds` (at least one) is the best by the measure's headline, and how it came about."""

    def gain(before: int, after: int) -> Estimate:
        group, mode = headline(session.config.measure)
        gain = between(session, before, after)[group][mode].gain
        mean, low, high = (math.nan if value is None else value for value in (gain.mean, gain.low, gain.high))
        return Estimate(mean, low, high, gain.n)

    return climb(rounds, gain)


def headline(config: MeasureConfig) -> tuple[str, str]:
    """Return the group and mode by which rounds are held against each other: what the rounds' documents should improve."""
    return ("self_play", "greedy") if isinstance(config, ExamMeasure) else ("held_out_self_judged", "sampled")


def agreement(session: Session, round_: int) -> Estimate:
    """Return how often the truth, too, puts the best answer of a pair above the worst; ties half, 0.5 is chance."""
    found: dict[str, float] = {}
    config = session.config
    for episode, made in paired(session.journal, round_, session.domain, config.pairing, config.seed):
        if episode.round == round_ and isinstance(made, PreferencePair):
            agreement = _agrees(episode, in_pocket=knows_truth(config.corpus))
            if agreement is not None:
                found[episode.id] = agreement
    return clustered_mean(list(found.values()), [id_.rpartition("/")[0] for id_ in found], SHARES)


def _agrees(episode: Episode, *, in_pocket: bool) -> float | None:
    answers = {candidate.index: candidate.answer for candidate in episode.candidates}
    assert episode.problem is not None  # it made a pair
    truths: list[float | None] = []
    for evaluation in episode.evaluations:
        if in_pocket:
            truths.append(truth_score(episode.problem, answers[evaluation.candidate]))
        else:
            truths.append(None if evaluation.verified is None else float(evaluation.verified))
    known = [truth for truth in truths if truth is not None]
    if len(known) < len(truths):
        return None
    return best_worst([evaluation.score for evaluation in episode.evaluations], known)
