"""Real Ray on this machine: the same bytes on every cluster, and after every kind of death."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import pop_selfplay as pop
from pop_selfplay.config import dump_config
from tests.integration.runs import simulated_config, write_texts
from tests.unit.scale.rows import exports, rows

pytest.importorskip("ray", reason="needs the extra ray: pip install 'pop-selfplay[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]  # on a machine that may have other work

RUNNER: Final = {"type": "ray", "workers": 2, "shards": 6, "publish_s": 0.1, "cpus_per_worker": 0.5}
DOCUMENTS: Final = 24


class Whole:
    """The run of one machine, and the files of its config for a cluster."""

    def __init__(self, folder: Path) -> None:
        config = simulated_config(write_texts(folder / "texts", DOCUMENTS), documents=DOCUMENTS, candidates=2)
        self.config = config.changed({"synthesis": config.synthesis.changed({"episodes_in_flight": 1})})
        self.folder, self.path = folder, folder / "whole"
        pop.run(self.config, self.path)

    def on_ray(self, *, seconds_per_call: float = 0.0, **runner: Any) -> Path:
        model = self.config.model.changed({"seconds_per_call": seconds_per_call})
        path = self.folder / "ray.yaml"
        path.write_text(dump_config(self.config.changed({"model": model, "runner": RUNNER | runner})), encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    yield Whole(tmp_path_factory.mktemp("whole"))


def start(config: Path, run: Path, home: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start `pop run` with a home directory of its own."""
    command = [sys.executable, "-m", "pop_selfplay", "run", str(config), "--out", str(run)]
    said = (run.parent / "said.txt").open("a", encoding="utf-8")
    with said:
        variables = os.environ | {"HOME": str(home), "TMPDIR": str(home)} | environment
        return subprocess.Popen(command, stdout=said, stderr=said, text=True, env=variables)


def finished(run: Path) -> int:
    """Return how many episodes of a run are finished."""
    if not (run / "run.db").is_file():
        return 0
    with closing(sqlite3.connect(f"{(run / 'run.db').as_uri()}?mode=ro", uri=True)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM episodes").fetchone()[0])
        except sqlite3.OperationalError:  # it is just being made
            return 0


def assert_same(run: Path, whole: Whole, folder: Path) -> None:
    for table in ("documents", "calls", "episodes", "call_counts", "episode_counts"):
        assert rows(run, table) == rows(whole.path, table) != set(), table
    assert exports(run, folder / "a") == exports(whole.path, folder / "b")


def test_a_cluster_of_the_run_leaves_nothing_behind(whole: Whole, tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="h-"))  # a short name, so that it is also the place of Ray's files
    fonts = str(tmp_path / "matplotlib")  # the report's pictures keep a list of fonts, at home unless told otherwise
    process = start(whole.on_ray(workers=1, shards=2), tmp_path / "run", home, MPLCONFIGDIR=fonts)
    assert process.wait(300) == 0, (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert_same(tmp_path / "run", whole, tmp_path)
    home.rmdir()  # it is empty: no token, no file of Ray and none of a worker
    assert "dashboard" not in (tmp_path / "said.txt").read_text(encoding="utf-8").lower()


class Drill:
    """A run on a cluster of two machines, one for the head and one for the workers, which are killed now and then."""

    def __init__(self, whole: Whole, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.run, self.home = folder / "run", folder / "home"
        self.home.mkdir()
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_SMALL})
        self.node = self.add_node()
        self.config = whole.on_ray(seconds_per_call=0.3, address=self.cluster.address)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        return start(self.config, self.run, self.home, RAY_AUTH_MODE="disabled")

    def work(self) -> None:
        """Wait until the run has finished something more."""
        goal = self.episodes() + 1
        while self.episodes() < goal:
            assert self.process.poll() is None, (self.run.parent / "said.txt").read_text(encoding="utf-8")
            time.sleep(0.05)
        assert self.episodes() < DOCUMENTS, "all is done already"

    def episodes(self) -> int:
        return finished(self.run)

    def workers(self) -> list[int]:
        """Return the processes of all workers."""
        raylet = self.node.all_processes["raylet"][0].process.pid
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1]
                title = stat.with_name("cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if int(parent) == raylet and title.startswith(b"ray::Worker"):
                found.append(int(stat.parent.name))
        return found

    def kill_workers(self) -> None:
        while not (victims := self.workers()):  # what came in was published before the last kill
            assert self.process.poll() is None, (self.run.parent / "said.txt").read_text(encoding="utf-8")
            time.sleep(0.05)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

    def kill_raylet(self) -> None:
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self.add_node()

    def add_node(self) -> Any:
        """Add the machine of the workers. Ray waits 30 s for it, which is too short for a machine that has other work."""
        for _ in range(4):
            with contextlib.suppress(Exception):
                return self.cluster.add_node(num_cpus=1, **_SMALL)
        return self.cluster.add_node(num_cpus=1, **_SMALL)

    def kill_driver(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self.process = self.start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self.cluster.shutdown()


_SMALL: Final = {"include_dashboard": False, "object_store_memory": 80 * 1024 * 1024}


@pytest.fixture
def drill(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drill]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    drill = Drill(whole, tmp_path)
    yield drill
    drill.close()


def test_killed_workers_machines_and_heads_change_no_byte_and_lose_nothing(drill: Drill, whole: Whole, tmp_path: Path) -> None:
    kills = [drill.kill_workers, drill.kill_workers, drill.kill_raylet, drill.kill_raylet, drill.kill_driver, drill.kill_driver]
    for kill in kills:
        drill.work()
        kill()
    assert drill.process.wait(300) == 0, (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert_same(drill.run, whole, tmp_path)
