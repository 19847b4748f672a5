"""Trouble on purpose: places that cannot be written, damaged pages, and runs in processes of their own."""

import contextlib
import ctypes
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

_DAC_OVERRIDE: Final = 1  # Linux's number for root's right to write where the file modes forbid it
_CAPABILITIES_V3: Final = 0x20080522


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Take the right to write from `directory` and all in it, also from root, and give it back at the end."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    override = _set_override(False)
    try:
        yield
    finally:
        _set_override(override)
        for path, mode in modes.items():
            path.chmod(mode)


def _set_override(wanted: bool) -> bool:
    """Switch this thread's right to override file modes and return what it was; of no effect but for root on Linux."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    had = bool(sets[0] >> _DAC_OVERRIDE & 1)
    sets[0] = sets[0] | 1 << _DAC_OVERRIDE if wanted else sets[0] & ~(1 << _DAC_OVERRIDE)
    libc.capset(header, sets)
    return had


def damage(database: Path, name: str, page: int = 0) -> None:
    """Overwrite a leaf page of the table or index `name` with noise; `page` chooses among its leaves."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    content = bytearray(database.read_bytes())
    leaves = _leaves(content, root, size)
    number = leaves[page % len(leaves)]
    content[(number - 1) * size : number * size] = b"\xa5" * size
    database.write_bytes(content)


def _leaves(content: bytearray, page: int, size: int) -> list[int]:
    """Return the leaf pages below `page` of a b-tree, in order (https://sqlite.org/fileformat.html)."""
    start = (page - 1) * size
    kind, cells = content[start], int.from_bytes(content[start + 3 : start + 5], "big")
    if kind in (0x0A, 0x0D):
        return [page]
    pointers = [int.from_bytes(content[at : at + 2], "big") for at in range(start + 12, start + 12 + 2 * cells, 2)]
    children = [int.from_bytes(content[start + p : start + p + 4], "big") for p in pointers]
    children.append(int.from_bytes(content[start + 8 : start + 12], "big"))
    return [leaf for child in children for leaf in _leaves(content, child, size)]


@contextlib.contextmanager
def counting(run: Path, journal: str = "run.db") -> Iterator[Callable[[], int]]:
    """Give what tells how many calls a journal of `run` holds, 0 while it is being made; a running process is not disturbed."""
    with contextlib.ExitStack() as opened:
        db: sqlite3.Connection | None = None

        def count() -> int:
            nonlocal db
            try:
                if db is None:
                    place = f"{(run / journal).absolute().as_uri()}?mode=ro"
                    db = opened.enter_context(closing(sqlite3.connect(place, uri=True, timeout=30)))
                return int(db.execute("SELECT coalesce(sum(calls), 0) FROM call_counts").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

        yield count


def count_calls(run: Path, journal: str = "run.db") -> int:
    """Return how many calls a journal of `run` holds now."""
    with counting(run, journal) as count:
        return count()


def start_pop(*arguments: str | Path, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start the command in a process of its own. `limit` is called in it before it begins."""
    command = [sys.executable, "-m", "pop_selfplay", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8", preexec_fn=limit
    )


def signal_at(run: Path, process: subprocess.Popen[str], calls: int, *numbers: int) -> str | None:
    """Send `numbers` once the journal holds `calls` calls; return what the process said, None if it had ended before."""
    with counting(run) as count:
        while process.poll() is None and count() < calls:
            time.sleep(0.002)
    sent = process.poll() is None
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    _, said = process.communicate()
    assert sent or process.returncode == 0, said
    return said if sent else None
