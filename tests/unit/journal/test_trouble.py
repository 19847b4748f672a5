"""Each kind of trouble with a run directory has its words and its exit code."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from pop_selfplay.errors import JournalDamaged, JournalError, JournalStopped
from pop_selfplay.journal.files import explain


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), JournalStopped, "the disk is full: free some space"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), JournalStopped, "full, over its quota or failing"),
        (sqlite_error(sqlite3.SQLITE_BUSY), JournalStopped, "another program has locked it"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), JournalDamaged, "pop export runs/mine"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), JournalDamaged, "--fork-from runs/mine"),
        (sqlite3.OperationalError("Could not decode to UTF-8 column 'text'"), JournalDamaged, "it is damaged"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DIRECTORY), JournalError, "copy the run directory to a writable place"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), JournalError, "nothing can be written there"),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT), JournalError, "what SQLite says"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), JournalStopped, "the disk is full"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), JournalStopped, "full, over its quota or failing"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), JournalError, "Read-only file system; nothing can be written there"),
        (OSError(errno.EEXIST, os.strerror(errno.EEXIST)), JournalError, "a file is in the way: name another place"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), JournalError, "No such file"),
    ],
)
def test_trouble_says_what_where_and_what_to_do(error: sqlite3.Error | OSError, kind: type[JournalError], words: str) -> None:
    said = explain(error, Path("runs/mine/run.db"), "write")
    assert type(said) is kind
    assert words in str(said) and "runs/mine/run.db" in str(said)
