"""One process at a time works on a directory: the others are told at once, and read meanwhile."""

import fcntl
import time
from pathlib import Path
from typing import IO, Final

from pop_selfplay.errors import JournalError
from pop_selfplay.journal.trouble import explain

_GLANCE: Final = 0.05
"""Seconds after which a lock that was only looked at (`is_locked`) is free again."""


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
    """Tell whether a process holds the lock at `path`. Works on a read-only disk, too."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8") as lock:
        return not _locked(lock, fcntl.LOCK_SH)


def _locked(lock: IO[str], kind: int) -> bool:
    """Lock and return True, unless another process is in the way."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
