"""Runs one server in a process group of its own, and ends that group when whoever asked for it is gone, however it went.

    python watchdog.py STATE COMMAND…

Standard input is a pipe that only the owner holds open: when it ends, by closing it or by dying, even of SIGKILL, the group
gets SIGTERM and, ten seconds later, SIGKILL. On Linux the server also gets SIGTERM should the guard itself be killed. While the
server lives, STATE says which processes these are, each with its start time, so that a leftover can be told from a stranger
with the same number. Only the standard library is imported here, and nothing of this package.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_S = 10.0
_LOOK_S = 0.2


def started_at(pid: int) -> str:
    """Return when a process began, in a form that tells it from any other of this boot; "" where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    state, ticks = fields[0], fields[19]
    return "" if state == "Z" else f"{boot} {ticks}"


def in_group(group: int) -> list[int]:
    """Return the processes of a group that still run, as far as /proc can tell."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.parent.name))
    return found


def main(state: Path, command: list[str]) -> int:
    """Run `command` to its end or the owner's, and return its exit code, as a shell does: 128 and more for a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the group's; the guard leaves last
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_as_a_server)
    processes = [[pid, started_at(pid)] for pid in (os.getpid(), server.pid)]
    state.write_text(json.dumps({"group": os.getpgrp(), "processes": processes}) + "\n", encoding="utf-8")
    while server.poll() is None:
        readable, _, _ = select.select([sys.stdin], [], [], _LOOK_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            _end(server)
            break
    with contextlib.suppress(FileNotFoundError):
        state.unlink()
    # Whatever the server leaves behind in the group, engine processes say, goes with it.
    for pid in in_group(os.getpgrp()):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _as_a_server() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(server: "subprocess.Popen[bytes]") -> None:
    os.killpg(os.getpgrp(), signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE_S)
    deadline = time.monotonic() + _GRACE_S
    while server.poll() is None and time.monotonic() < deadline:
        server.kill()
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
