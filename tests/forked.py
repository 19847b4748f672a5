"""Processes with torch, TRL and the trainers imported that start at once: one that imported them, and ran nothing, forks them.

Such an import takes longer than a tiny training. A test that starts a process asks the fixture `forked` for it. Libraries that
read the environment when they are imported see that of `forking`; what must differ is imported by the process itself.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final, NamedTuple

_FORKING: Final = """
import gc, json, os, sys
gc.disable()
import pop_selfplay.api, pop_selfplay.cli, pop_selfplay.training.dpo, pop_selfplay.training.sft
gc.freeze()
gc.enable()
codes = {}
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        pid = order["wait"]
        if pid not in codes:
            ended, status = os.waitpid(pid, order["flags"])
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        print(json.dumps(codes.get(pid)), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    os.environ.update(order["environment"])
    for stream, path in enumerate(order["streams"]):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if stream else os.O_RDONLY), stream)
    sys.argv = order["arguments"]
    exec(order["code"], {"__name__": "__main__"})
    break
"""
_SAID: Final = ("stdout", "stderr")
POP: Final = "from pop_selfplay.cli import main; main()"
"""The code of the command `pop`; its first argument is its name."""


class Ended(NamedTuple):
    """How a process ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Forked(NamedTuple):
    """A process that runs."""

    pid: int
    folder: Path
    orders: IO[str]
    reports: IO[str]

    def said(self) -> str:
        """Return what the process has written by now."""
        return "".join((self.folder / name).read_text(encoding="utf-8", errors="replace") for name in _SAID)

    def runs(self) -> bool:
        """Tell whether the process has not ended yet."""
        return self._exit_code(os.WNOHANG) is None

    def wait(self) -> Ended:
        """Wait for the end of the process. Its exit code is negative where a signal ended it."""
        code = self._exit_code(0)
        assert code is not None
        return Ended(code, *((self.folder / name).read_text(encoding="utf-8") for name in _SAID))

    def _exit_code(self, flags: int) -> int | None:
        self.orders.write(json.dumps({"wait": self.pid, "flags": flags}) + "\n")
        self.orders.flush()
        code: int | None = json.loads(self.reports.readline())
        return code


class Forking:
    """Starts processes. Make it with `forking`."""

    def __init__(self, folder: Path, orders: IO[str], reports: IO[str]) -> None:
        self._folder, self._orders, self._reports = folder, orders, reports
        self._count = 0

    def start(
        self, code: str, *arguments: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Forked:
        """Run `code` as Python's `-c` does, with `sys.argv[1:]` as given and `environment` added to the tests' own."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        for name in _SAID:
            (folder / name).touch()
        (folder / "stdin").write_bytes(stdin)
        order = {
            "code": code,
            "arguments": ["pop", *(str(argument) for argument in arguments)],
            "environment": {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            "streams": [str(folder / name) for name in ("stdin", *_SAID)],
        }
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return Forked(int(self._reports.readline()), folder, self._orders, self._reports)

    def run(self, code: str, *arguments: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
        """Start a process and wait for it."""
        return self.start(code, *arguments, stdin=stdin, environment=environment).wait()


@contextlib.contextmanager
def forking(folder: Path) -> Iterator[Forking]:
    """Open a process that forks others, which read and write files in `folder`."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")},
    )
    assert parent.stdin is not None and parent.stdout is not None
    try:
        yield Forking(folder, parent.stdin, parent.stdout)
    finally:
        parent.stdin.close()
        parent.wait(30)
        parent.stdout.close()
