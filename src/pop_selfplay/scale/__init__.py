"""More than one machine: the documents of a run in shards, which are played anywhere and become one run.

    shards.py  a shard of a run, what leaves it, and the one run that all of them are
    head.py    a round on a Ray cluster: shards are leased to workers, and what they publish is taken in
    worker.py  what a worker does; it knows no Ray

An episode depends on its document and the run's seed alone, so it is the same wherever it is played. Whatever looks at several
episodes (pairs, problems that nearly repeat each other, figures, decisions) is derived afterwards from the whole.

`cluster` is the Ray cluster of a run: the one that the config names, or one on this machine that lives as long as it is needed.
Ray is to surprise nobody. It reports no usage to its makers. A cluster that the run starts has no dashboard, demands a token
that is kept in the environment instead of the home directory, and has its files in a temporary directory that is removed with
it, or by the next session when this one is killed. A cluster that the run joins keeps its own ways.
"""

import contextlib
import functools
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final

from pop_selfplay.config import RayRunner
from pop_selfplay.runs.session import Session

_SCRATCH: Final = "scratch"
"""The note of where the files of a cluster are."""
_SHORT: Final = 30
"""Ray's sockets lie 60 characters below its folder, and a socket's path has at most 107 bytes."""


@contextlib.contextmanager
def cluster(session: Session) -> Iterator[tuple[ModuleType, str | None]]:
    """Join the config's cluster, or start one for the time being; yield Ray, and the folder of the workers of an own one."""
    import ray

    runner, journal = session.config.runner, session.journal
    assert isinstance(runner, RayRunner)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, str | bool] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    with contextlib.ExitStack() as cleaning:
        cleaning.enter_context(_environment({"RAY_USAGE_STATS_ENABLED": "0"}))
        folder = None
        if runner.address is None:
            if left := journal.noted(_SCRATCH):  # by a session that was killed
                shutil.rmtree(left, ignore_errors=True)
            folder = tempfile.mkdtemp(prefix="pop-ray-", dir=None if len(tempfile.gettempdir()) <= _SHORT else "/tmp")
            cleaning.callback(shutil.rmtree, folder, ignore_errors=True)
            journal.note(_SCRATCH, folder)
            # Ray listens on all interfaces: nobody else may use the cluster, by a token that is written nowhere.
            cleaning.enter_context(_environment({"RAY_AUTH_TOKEN": _token(), "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE")}))
            quiet |= {"_temp_dir": folder, "_node_ip_address": "127.0.0.1"}
        else:
            del quiet["include_dashboard"]
        ray.init(address=runner.address or "local", namespace=f"pop-{journal.run_id}", **quiet)
        cleaning.callback(ray.shutdown)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in its place
        yield ray, folder


@contextlib.contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables for the time being. Whatever is done to them meanwhile, they are as they were at the end."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@functools.cache
def _token() -> str:
    """Return the token of the clusters of this process: Ray reads it once. Ray itself sets the mode that demands it."""
    return secrets.token_hex(32)
