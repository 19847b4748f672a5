"""Each kind of trouble with a run directory has its words and its exit code."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from pop_selfplay.errors import JournalDamaged, JournalError, JournalStopped
from pop_selfplay.journal import Journal
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


@pytest.mark.parametrize("open_", [Journal.open, Journal.open_to_read])
def test_a_database_of_another_program_is_neither_read_as_empty_nor_written_into(
    open_: Callable[[Path], AbstractContextManager[Journal]], tmp_path: Path
) -> None:
    path = tmp_path / "run.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE bookmarks (url TEXT);")
    with pytest.raises(JournalError, match=r"is a database of another program, with bookmarks: move it"), open_(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]


@pytest.mark.parametrize("open_", [Journal.open, Journal.open_to_read])
def test_a_directory_in_the_place_of_the_journal_is_no_failing_disk(
    open_: Callable[[Path], AbstractContextManager[Journal]], tmp_path: Path
) -> None:
    (tmp_path / "run.db").mkdir()
    with pytest.raises(JournalError, match="it is a directory and no journal") as caught, open_(tmp_path / "run.db"):
        pass
    assert not isinstance(caught.value, JournalStopped)
