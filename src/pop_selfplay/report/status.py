"""How far a run is, in one line: what is finished, whether a process works on it, and the command that resumes it."""

import shlex

from pop_selfplay.config import NoMeasure
from pop_selfplay.episode import unfinished
from pop_selfplay.evaluation.measure import is_measured
from pop_selfplay.evaluation.rounds import stopped
from pop_selfplay.runs.session import Session


def standing(session: Session) -> str:
    """Return the line. A run is finished when every round is and result.json is written."""
    path = session.directory.path
    how_far, finished = _how_far(session)
    if session.directory.worked_on():
        return f"{how_far}; a process is working on it"
    if finished:
        return f"{how_far}; the run is finished"
    return f"{how_far}; no process is working on it, resume with: pop run {shlex.quote(str(path))}"


def _how_far(session: Session) -> tuple[str, bool]:
    config, journal = session.config, session.journal
    stop = stopped(session)
    last = config.rounds if stop is None else stop.round
    said = ""
    for round_ in range(1, last + 1):
        episodes = len(journal.document_ids(round_)) * config.synthesis.problems_per_document
        if not episodes:
            return "no documents are chosen yet", False
        left = len(unfinished(journal, config.synthesis.problems_per_document, round_))
        said = f"round {round_} of {config.rounds}: {episodes - left:,} of {episodes:,} episodes finished"
        if left:
            return said, False
        if stop is not None and (stop.round, stop.before) == (round_, "training"):
            break
        if config.training.trains and not session.directory.model_path(round_).exists():
            return f"{said}, its training is not", False
        if not isinstance(config.applied_measure, NoMeasure) and not is_measured(session, round_):
            return f"{said}, its measurement is not", False
    return said, session.directory.result_path.is_file()
