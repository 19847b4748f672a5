"""One process at a time works on a directory: the others are told at once, and read meanwhile."""

import fcntl
from pathlib import Path
from typing import IO

from pop_selfplay.errors import JournalError
from pop_selfplay.journal.trouble import explain


def take_lock(path: Path) -> IO[str]:
    """Lock the file at `path`, made where it is missing, until the returned handle is closed or the process ends.

    Raises JournalError when another process holds it, or the place cannot be written.
    """
    try:
        lock = path.open("w", encoding="utf-8")
    except OSError as error:
        raise explain(error, path, "write") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise JournalError(f"another process is working on {path.parent}: wait for it or stop it") from error
    return lock
