"""How a figure with its interval, a foreign text and the state of a run are written: the same in every table and page."""

import shlex
from collections.abc import Callable

from pop_selfplay.config import NoMeasure
from pop_selfplay.episode import unfinished
from pop_selfplay.evaluation.measure import is_measured
from pop_selfplay.evaluation.rounds import stopped
from pop_selfplay.journal.notes import SHARD
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.runs.session import Session

Show = Callable[[float], str]


def decimals(digits: int, *, scale: float = 1.0, signed: bool = False) -> Show:
    """Return how to write numbers with so many digits, times `scale` (100 for shares whose unit stands in the title)."""
    sign = "+" if signed else ""
    return lambda value: f"{value * scale:{sign}.{digits}f}"


def percent(value: float) -> str:
    """Write a share with its unit."""
    return f"{value:.1%}"


def plain(value: float) -> str:
    """Write a number of any size with about three digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"


def estimate_text(estimate: ReportedEstimate | None, show: Show) -> str:
    """Return "mean [low, high]" of an estimate in a result file, "?" for what is unknown; "" where nothing was measured."""
    if estimate is None or estimate.n == 0:
        return ""
    mean, low, high = ("?" if value is None else show(value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def printable(text: str) -> str:
    """Return `text` on one line, without what a terminal might obey: control characters, and marks that turn its direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def status_line(session: Session) -> str:
    """Return the line. A run is finished when every round is and result.json is written, a shard when its episodes are."""
    path, part = session.directory.path, SHARD.read(session.journal)
    how_far, finished = _how_far(session)
    if part is not None:
        finished = not unfinished(session.journal, session.config.synthesis.problems_per_document, 1)
        how_far = f"shard {part.shard}, {how_far}"
    if session.directory.worked_on():
        return f"{how_far}; a process is working on it"
    if finished:
        return f"{how_far}; the {'run' if part is None else 'shard'} is finished"
    command = "run" if part is None else "synth"
    return f"{how_far}; no process is working on it, resume with: pop {command} {shlex.quote(str(path))}"


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
