"""The files of a run directory: written whole or not at all, worked on by one process at a time, and what goes wrong with them.

    atomic_write, write_atomically   a temporary name first, then a rename
    take_lock, is_locked             flock: released by the system when its process dies, and seen on a read-only disk, too
    explain, damaged                 every sqlite3.Error and OSError of this room in words: what happened, where, what to do

A new kind of trouble is a line in one of the tables of `explain`.
"""

import contextlib
import errno
import fcntl
import glob
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from pop_selfplay.errors import JournalDamaged, JournalError, JournalStopped, validation_text

_GLANCE: Final = 0.05
"""Seconds after which a lock that was only looked at (`is_locked`) is free again."""
_FULL: Final = "the disk is full: free some space, then resume"
_FAILING: Final = "the disk is full, over its quota or failing: fix that, then resume"
_LOCKED: Final = "another program has locked it: close that program (an open database shell, for example), then resume"
_READ_ONLY: Final = (
    "nothing can be written there; `pop status` and `pop export` still work; to resume, "
    "copy the run directory to a writable place"
)
_LOST: Final = (
    "its first page is gone, and with it all that it held. The pairs and models beside it stay as they are; "
    "`pop run {run}/config.yaml --out NEW` begins again"
)
_DAMAGED: Final = (
    "it is damaged. `pop export {run} --out pairs.jsonl` saves the pairs that can still be read; "
    "`pop run {run}/config.yaml --fork-from {run} --out NEW` resumes with every call that can still be read"
)
_SQLITE_STOPS: Final = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
}
_SQLITE_READ_ONLY: Final = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}
_SQLITE_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_OS_STOPS: Final = {errno.ENOSPC: _FULL, errno.EDQUOT: _FAILING, errno.EFBIG: _FAILING, errno.EIO: _FAILING}
_OS_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
_OS_IN_THE_WAY: Final = {errno.EEXIST, errno.ENOTDIR}


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when the block ends well; readers see the old file or the whole new one.

    What killed writers of `path` left behind is removed. Raises JournalError when it cannot be written; whatever was at `path`
    before then stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _remove_leftovers(path)
        with temporary.open("wb") as file:
            with contextlib.suppress(OSError):  # some mounted stores know no locks, and are cleaned of nothing then
                _locked(file, fcntl.LOCK_EX)  # until it has its name: so nobody takes it for a leftover
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise explain(error, path, "write") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` that nobody has open: a process that was killed holds no lock any more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            if _locked(file, fcntl.LOCK_EX):
                left.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write `text`, whole or not at all (`atomic_write`)."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def take_lock(path: Path) -> IO[str]:
    """Lock the file at `path`, made where it is missing, until the returned handle is closed or the process ends.

    Raises JournalError when another process holds it, or the place cannot be written.
    """
    try:
        lock = path.open("w", encoding="utf-8")
    except OSError as error:
        raise explain(error, path, "write") from error
    try:
        if not _locked(lock, fcntl.LOCK_EX):
            time.sleep(_GLANCE)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise JournalError(f"another process is working on {path.parent}: wait for it or stop it") from error
    return lock


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock at `path`. Also works on a read-only disk."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8") as lock:
        return not _locked(lock, fcntl.LOCK_SH)


def _locked(lock: IO[str] | IO[bytes], kind: int) -> bool:
    """Lock and return True, unless another process is in the way."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def explain(error: sqlite3.Error | OSError, path: Path, doing: str) -> JournalError:
    """Return the error to raise when `doing` ("open", "read", "write") failed on the file `path` of a run directory."""
    what = f"cannot {doing} {path}: {_words(error)}"
    if isinstance(error, OSError):
        return _explain_os(error, what)
    if path.is_dir():  # which SQLite takes for a failing disk
        return JournalError(f"cannot {doing} {path}: it is a directory and no journal; move it to another place")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest a detail of it
    if code in _SQLITE_STOPS:
        return JournalStopped(f"{what}; {_SQLITE_STOPS[code]}")
    if code in _SQLITE_DAMAGE or "decode" in str(error):  # Python's own error for text that is no longer UTF-8 has no code
        return damaged(path, _words(error))
    if code in _SQLITE_READ_ONLY:
        return JournalError(f"{what}; {_READ_ONLY}")
    return JournalError(what)


def damaged(path: Path, detail: str) -> JournalDamaged:
    """Return the error for a journal at `path` that does not hold what it must; `detail` says what was found."""
    advice = _DAMAGED if _has_tables(path) else _LOST
    return JournalDamaged(f"cannot read {path}: {detail}; " + advice.format(run=path.parent))


def unparsed(path: Path, what: str, error: ValidationError) -> JournalDamaged:
    """Return the error for `what` in the journal at `path`, in which pydantic found faults."""
    return damaged(path, f"{what} does not parse ({validation_text(error)})")


def _has_tables(path: Path) -> bool:
    """Tell whether it can still be read what tables there are, or nothing is known of that: without them no row is reached."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return True  # it cannot be opened, which says nothing about what it holds
    except sqlite3.DatabaseError:
        return False
    return True


def _explain_os(error: OSError, what: str) -> JournalError:
    if error.errno in _OS_STOPS:
        return JournalStopped(f"{what}; {_OS_STOPS[error.errno]}")
    if error.errno in _OS_READ_ONLY:
        return JournalError(f"{what}; {_READ_ONLY}")
    if error.errno in _OS_IN_THE_WAY:
        return JournalError(f"{what}; a file is in the way: name another place")
    return JournalError(what)


def _words(error: sqlite3.Error | OSError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
