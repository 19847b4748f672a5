"""After each round: does another one still help? And which round's model is the result?

Two looks at a round, each with a decision that is noted in the journal once and never made again, so that a resumed run goes
the way it went: before training (are the problems still diverse, do the pairs agree with the truth?) and after the measurement
(has the model gained?). The rules are in `method/stopping.py`; their figures are gathered here, even where no rule asks,
for every run of several rounds.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal

from pop_selfplay.evaluation.measure import agreement, best_of, headline, is_measured
from pop_selfplay.journal.notes import DECISION
from pop_selfplay.method.stopping import Climb, Stop, stop_by_agreement, stop_by_diversity, stop_by_gain
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import BestModel, GainFigures, NoFigures, ProblemFigures, RoundDecision
from pop_selfplay.runs.lineage import path_of
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.text.overlap import similarities, vendi

PROBLEMS_COMPARED: Final = 500
"""Most problems of a round whose diversity is measured: it takes the cube of their number."""

Before = Literal["training", "next_round"]
"""Before what a decision is made."""

Look = tuple[Stop | None, ProblemFigures | GainFigures | NoFigures]
"""The rule that ends the run, if one does, and the figures it rests on."""


def worth_training(session: Session, round_: int) -> bool:
    """Decide, once, whether the round's pairs are worth training on."""
    return _decided(session, round_, "training", _look_at_problems)


def still_helps(session: Session, round_: int) -> bool:
    """Decide, once, whether the round's model has gained enough for another round."""
    return _decided(session, round_, "next_round", _look_at_gain)


def decisions(session: Session) -> Iterator[RoundDecision]:
    """Yield every decision made so far, in their order."""
    for round_ in range(1, session.config.rounds + 1):
        for before in ("training", "next_round"):
            if (decided := DECISION.read(session.journal, round_, before)) is not None:
                yield decided


def stopped(session: Session) -> RoundDecision | None:
    """Return the decision that ended the run early, None where none has."""
    return next((decision for decision in decisions(session) if decision.rule is not None), None)


def best_model(session: Session) -> BestModel | None:
    """Return which model is the result, the best of the starting model and all rounds; None while there is none to choose from.

    Without a measure it is the last trained one.
    """
    trained = [round_ for round_ in range(1, session.config.rounds + 1) if session.directory.model_path(round_).exists()]
    if not session.config.training.trains or not (trained or stopped(session)):
        return None
    best, figure = trained[-1] if trained else 0, None
    if climbed := _climb(session):
        best, figure = climbed.best, ".".join(headline(session.config.measure))
    return BestModel(round=best, path=path_of(session, best), best_by=figure)


def _decided(session: Session, round_: int, before: Before, look: Callable[[Session, int], Look]) -> bool:
    config = session.config
    decided = DECISION.read(session.journal, round_, before)
    if decided is None:
        if config.rounds == 1 and not config.stop.any_set:
            return True
        stop, figures = look(session, round_)
        rule, says = stop or (None, "")
        decided = RoundDecision(round=round_, before=before, rule=rule, says=says, figures=figures)
        DECISION.write(session.journal, decided, round_, before)
    return decided.rule is None


def _look_at_problems(session: Session, round_: int) -> Look:
    rules, share, agreed = session.config.stop, _diversity_share(session, round_), agreement(session, round_)
    stop = None
    if rules.min_diversity is not None:
        stop = stop_by_diversity(share, min_diversity=rules.min_diversity)
    if stop is None and rules.min_agreement is not None:
        stop = stop_by_agreement(agreed, min_agreement=rules.min_agreement)
    return stop, ProblemFigures(diversity=share, agreement=ReportedEstimate.of(agreed))


def _look_at_gain(session: Session, round_: int) -> Look:
    rules, climbed = session.config.stop, _climb(session)
    if climbed is None:
        return None, NoFigures()
    gain = ReportedEstimate.of(climbed.gains[-1])
    figures = GainFigures(gain=gain, over_round=climbed.over[-1], best_round=climbed.best)
    if rules.min_gain is None or round_ == session.config.rounds:  # nothing is left to be stopped
        return None, figures
    stop = stop_by_gain(climbed.gains, min_gain=rules.min_gain, gain_by=rules.gain_by, patience=rules.patience)
    return stop, figures


def _climb(session: Session) -> Climb | None:
    """Return what all measured rounds came to, the starting model first; None where none is measured."""
    measured = [round_ for round_ in range(session.config.rounds + 1) if is_measured(session, round_)]
    return best_of(session, measured) if len(measured) > 1 else None


def _diversity_share(session: Session, round_: int) -> float | None:
    """Return the effective number of different problems against round 1's, over equally many of both; None without problems.

    The problems are a sample by hash, at most one of each document, and words weigh the same in both rounds.
    """

    def problems(number: int) -> list[str]:
        texts = {e.document_id: e.problem.text for e in session.journal.episodes(number) if e.problem is not None}
        seed = session.config.seed
        return [texts[id_] for id_ in sorted(texts, key=lambda id_: (derive_seed(seed, "diversity", id_), id_))]

    first, now = problems(1), problems(round_)
    count = min(len(first), len(now), PROBLEMS_COMPARED)
    if not count:
        return None
    first, now = first[:count], now[:count]
    return round(vendi(similarities(now, first + now)) / vendi(similarities(first, first + now)), 6)
