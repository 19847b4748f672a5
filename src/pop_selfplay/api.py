"""The Python interface: what the commands do, as functions."""

from os import PathLike
from pathlib import Path
from typing import Any

from pop_selfplay.config import RunConfig
from pop_selfplay.errors import UsageError
from pop_selfplay.journal.export import read_pairs, write_pairs
from pop_selfplay.journal.rundir import RunDirectory
from pop_selfplay.selfplay import play_rounds
from pop_selfplay.session import Observer, open_session


def run(config: RunConfig, out: str | PathLike[str], observer: Observer | None = None) -> dict[str, Any]:
    """Play a whole run in the directory `out` and return its result, the content of result.json.

    Called again on the same directory it goes on where the last call stopped. Raises ConfigError when `out` holds a run of
    another config, and the errors of `pop_selfplay.errors` as they come up.
    """
    with open_session(Path(out), config, observer) as session:
        return play_rounds(session)


def export(directory: str | PathLike[str], out: str | PathLike[str], format: str = "trl") -> int:
    """Write the preference pairs of a run to `out` (.jsonl or .parquet) in TRL's conversational format; return how many.

    Raises UsageError when the run has no pairs yet or the format is unknown.
    """
    if format != "trl":
        raise UsageError(f"unknown export format {format!r}: this version writes trl")
    pairs_path = RunDirectory.open(Path(directory)).pairs_path
    if not pairs_path.is_file():
        raise UsageError(f"{directory} has no pairs yet: run `pop pairs {directory}` first")
    return write_pairs(read_pairs(pairs_path), Path(out))
