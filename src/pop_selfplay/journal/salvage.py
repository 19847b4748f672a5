"""Rows of another journal: what can still be read of a damaged one, and what a fork takes over from the run it began as."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pop_selfplay.errors import JournalDamaged, UsageError
from pop_selfplay.journal.journal import Journal
from pop_selfplay.journal.schema import CALL_COLUMNS, INHERITED_COLUMNS, column, connect_to_read

_MISSES_AT_THE_END: Final = 20_000
"""So many row numbers in a row that give nothing count as the end of a table whose last number cannot be read."""
_COLUMNS: Final = {
    "meta": "key, value",
    "documents": "round, position, id, record",
    "corpus_drops": "round, reason, count",
    "calls": CALL_COLUMNS,
    "inherited_calls": INHERITED_COLUMNS,
    "episodes": "id, round, stage, reason, record",
}


def readable_rows(db: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield `columns` of every row of `table` that can be read, in the order of their numbers."""
    columns = ", ".join(column(db, name) for name in columns.split(", "))
    seen = 0
    try:
        with closing(db.execute(f"SELECT rowid, {columns} FROM {table} NOT INDEXED ORDER BY rowid")) as rows:
            for row in rows:
                seen = row[0]
                yield row[1:]
    except sqlite3.Error:
        yield from _one_by_one(db, table, columns, seen + 1)


def _one_by_one(db: sqlite3.Connection, table: str, columns: str, first: int) -> Iterator[tuple[Any, ...]]:
    last, missed, number = _last_number(db, table), 0, first
    while number <= last if last is not None else missed < _MISSES_AT_THE_END:
        try:
            row = db.execute(f"SELECT {columns} FROM {table} NOT INDEXED WHERE rowid = ?", (number,)).fetchone()
        except sqlite3.Error:
            row = None
        if row is not None:
            yield row
        missed = 0 if row is not None else missed + 1
        number += 1


def _last_number(db: sqlite3.Connection, table: str) -> int | None:
    try:
        return int(db.execute(f"SELECT coalesce(max(rowid), 0) FROM {table} NOT INDEXED").fetchone()[0])
    except sqlite3.Error:
        return None


def salvage(path: Path, target: Path) -> int:
    """Make a sound journal at `target` from what can be read of the one at `path`; return how many episodes it holds.

    An episode is left out when a completion that it needs is gone. Raises JournalError when not even the list of tables can be
    read.
    """
    Journal.open(target).close()
    with closing(connect_to_read(path)) as source, closing(sqlite3.connect(target, isolation_level=None)) as copy:
        for table, columns in _COLUMNS.items():
            _copy(source, copy, table, columns)
        whole = _drop_broken_episodes(copy, Journal(copy, target))
    return whole


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, table: str, columns: str) -> None:
    insert = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' for _ in columns.split(','))})"
    copy.execute("BEGIN")
    copy.execute(f"DELETE FROM {table}")
    for row in readable_rows(source, table, columns):
        with contextlib.suppress(sqlite3.IntegrityError):  # a row that lost a value, or that damage shows twice
            copy.execute(insert, row)
    copy.execute("COMMIT")


def _drop_broken_episodes(db: sqlite3.Connection, journal: Journal) -> int:
    rows = db.execute("SELECT id, round FROM episodes ORDER BY id").fetchall()
    whole = 0
    for id_, round_ in rows:
        try:
            journal.episode(round_, id_)
            whole += 1
        except JournalDamaged:
            db.execute("DELETE FROM episodes WHERE id = ?", (id_,))
    return whole


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
