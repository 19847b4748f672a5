"""The Python interface: what the commands do, as functions."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pop_selfplay.config import ModelConfig, RunConfig
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit.audit import audit_run
from pop_selfplay.evaluation.audit.material import SAMPLE, Options, modes_of
from pop_selfplay.evaluation.audit.thresholds import limits_with
from pop_selfplay.evaluation.contestants import named_model
from pop_selfplay.journal.export import read_pairs, write_pairs
from pop_selfplay.journal.rundir import RunDirectory
from pop_selfplay.observer import Observer
from pop_selfplay.report.result import refresh_page
from pop_selfplay.selfplay import pairs_of, play_rounds
from pop_selfplay.session import Session, open_session, read_session


def run(
    config: RunConfig,
    out: str | PathLike[str],
    observer: Observer | None = None,
    *,
    fork_from: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Play a whole run in the directory `out` and return its result, the content of result.json.

    Called again on the same directory it goes on where the last call stopped. With `fork_from`, the directory of another run,
    every model call that is the very same in both is taken over from there. Raises ConfigError when `out` holds a run of
    another config, and the errors of `pop_selfplay.errors` as they come up.
    """
    with open_session(Path(out), config, observer, fork_from=None if fork_from is None else Path(fork_from)) as session:
        return play_rounds(session)


def audit(
    directory: str | PathLike[str],
    *,
    judge: str | ModelConfig | None = None,
    sample: int = SAMPLE,
    round: int = 0,
    modes: Sequence[str] = (),
    against: str | PathLike[str] | None = None,
    play: bool = True,
    thresholds: Sequence[str] = (),
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Audit a run and return the content of audit.json, which is written there; a report.html there gets a section, too.

    The arguments are the options of `pop audit`. Raises UsageError for options that make no sense, ConfigError when `directory`
    or `against` is no run, and the errors of the models that are asked.
    """
    name, second = named_model(judge) if isinstance(judge, str) else (f"a model of type {judge.type}" if judge else "", judge)
    options = Options(
        sample=sample,
        round=round,
        judge=second,
        judge_name=name,
        modes=modes_of(modes),
        against=None if against is None else Path(against),
        play=play,
        limits=limits_with(thresholds),
    )
    result = audit_run(Path(directory), options, observer)
    refresh_page(Path(directory))
    return result


def export(directory: str | PathLike[str], out: str | PathLike[str], format: str = "trl") -> int:
    """Write the preference pairs of a run to `out` (.jsonl or .parquet) in TRL's conversational format; return how many.

    They come from pairs.parquet, or else, as in a run that was stopped, from the episodes that are finished; of a damaged
    journal from those that can still be read. Nothing is written to the run directory. Raises UsageError when no episode is
    finished or the format is unknown.
    """
    if format != "trl":
        raise UsageError(f"unknown export format {format!r}: this version writes trl")
    pairs_path = RunDirectory.open(Path(directory)).pairs_path
    if pairs_path.is_file():
        return write_pairs(read_pairs(pairs_path), Path(out))

    def write(session: Session) -> int:
        if not session.journal.tally.episodes:
            raise UsageError(f"{directory} has no finished episode yet: go on with `pop run {directory}`")
        return write_pairs(pairs_of(session, session.config.rounds), Path(out))

    return read_session(Path(directory), write)
