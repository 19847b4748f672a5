"""Processes of the command that start at once, for drills that need many: one that has imported everything forks them."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from tests.integration.faults import counting

_NURSE: Final = """
import contextlib, gc, json, os, sys
import pop_selfplay.api, pop_selfplay.models.endpoint, pop_selfplay.report.live, pop_selfplay.report.tables
from pop_selfplay.cli import run
with contextlib.redirect_stdout(sys.stderr):
    run(["--version"])
gc.freeze()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        os._exit(run(json.loads(line)))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Runs commands one after the other, each in a new process. Make it with `nursery`."""

    def __init__(self, orders: IO[str], reports: IO[str]) -> None:
        self._orders, self._reports = orders, reports

    def kill_at(self, run: Path, calls: int, *arguments: str | Path) -> bool:
        """Start a command and kill it once the journal of `run` holds `calls` calls; tell whether it was killed.

        One that ends before then must have ended well.
        """
        self._orders.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self._orders.flush()
        child = int(self._reports.readline())
        with counting(run) as count:
            while not select.select([self._reports], [], [], 0.005)[0]:
                if count() >= calls:
                    os.kill(child, signal.SIGKILL)
                    break
        code = int(self._reports.readline())
        assert code in (0, -signal.SIGKILL), f"the command ended with {code}"
        return code != 0


@contextlib.contextmanager
def nursery(log: Path) -> Iterator[Nursery]:
    """Open a nursery whose processes write what they say to `log`."""
    with log.open("w", encoding="utf-8") as said:
        nurse = subprocess.Popen(
            [sys.executable, "-c", _NURSE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
        )
        assert nurse.stdin is not None and nurse.stdout is not None
        try:
            yield Nursery(nurse.stdin, nurse.stdout)
        finally:
            nurse.stdin.close()
            nurse.wait(30)
            nurse.stdout.close()
