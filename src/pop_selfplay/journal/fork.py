"""Fork a run: another config, in a directory of its own, that pays again only for the calls that became different ones.

All calls of the old run are copied as the new one's inheritance; whether one still is the very same request is decided by the
digest when the new run is about to make it (stages/calls.py). Nothing else is taken over: documents are chosen again,
episodes played again, pairs made again, models trained again, and calls of trained models made again.
"""

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from pop_selfplay.errors import UsageError
from pop_selfplay.journal.calls import INHERITED_COLUMNS
from pop_selfplay.journal.journal import Journal
from pop_selfplay.journal.salvage import readable_rows
from pop_selfplay.journal.schema import connect_to_read

_CALLS_AT_ONCE: Final = 10_000
_SOURCE: Final = "forked_from"
_DONE: Final = "fork_copied"


def fork(journal: Journal, source: Path) -> None:
    """Let the run of `journal` inherit the calls of the run whose journal is at `source`, also what a damaged one still gives.

    Done before, it does nothing. Raises UsageError when the run has begun by itself or is a fork of another one.
    """
    origin = str(source.parent.resolve())
    noted = journal.noted(_SOURCE)
    if noted is None and journal.tally.calls:
        raise UsageError("this run has already begun, and not as a fork: give the fork a new directory with --out")
    if noted not in (None, origin):
        raise UsageError(f"this run is a fork of {noted}, not of {origin}: give the fork a new directory with --out")
    journal.note(_SOURCE, origin)
    finish_fork(journal)


def finish_fork(journal: Journal) -> None:
    """Copy the calls that the run of `journal` inherits, unless it is no fork or has them; taken up again after any kill."""
    origin = journal.noted(_SOURCE)
    if origin is None or journal.noted(_DONE) is not None:
        return
    path = Path(origin) / "run.db"
    if not path.is_file():
        raise UsageError(f"cannot fork from {origin}: its run.db is gone; to start without it, choose a new run directory")
    with closing(connect_to_read(path)) as old:
        for table in ("calls", "inherited_calls"):
            rows = readable_rows(old, table, INHERITED_COLUMNS)
            while batch := list(islice(rows, _CALLS_AT_ONCE)):
                journal.inherit(batch)
    journal.note(_DONE, "yes")
