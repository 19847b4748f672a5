"""Machines that share nothing but an object store: each has disks of its own, and one is lost with all that it had.

A machine is a process with namespaces of its own: its disk is mounted inside and seen by nobody else, that of the head is
hidden from it, and it dies whole, with its raylet, its workers and its disk.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.scale.test_ray import DOCUMENTS, Whole, assert_same, finished, start
from tests.object_store import object_store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

APART: Final = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Of util-linux: a process and its children by themselves, which all die with the first."""
BOOT: Final = """
mount -t tmpfs tmpfs "$HEAD_DISK" && mount -t tmpfs tmpfs "$OWN_DISK" && mount -t tmpfs tmpfs /tmp/ray || exit 70
export HOME="$OWN_DISK" TMPDIR="$OWN_DISK"
exec "$PYTHON" -m ray.scripts.scripts start --address="$ADDRESS" --node-ip-address="$IP" --num-cpus=1 \\
  --object-store-memory=80000000 --disable-usage-stats --block
"""


class Machines:
    """A head with a disk, and machines that join it."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.head_disk = folder, folder / "head"
        self.head_disk.mkdir()
        small = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 1024 * 1024}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=small)
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.started: list[subprocess.Popen[bytes]] = []

    def boot(self, number: int) -> None:
        """Start the machine of a number, which has a disk of its own at the same place as all others."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        variables = {"HEAD_DISK": str(self.head_disk), "OWN_DISK": str(disk), "PYTHON": sys.executable}
        variables |= {"ADDRESS": self.cluster.address, "IP": f"127.0.0.{number + 1}"}
        said = (self.folder / f"machine-{number}.txt").open("ab")
        with said:
            machine = subprocess.Popen(
                [*APART, "bash", "-c", BOOT], env=os.environ | variables, stdout=said, stderr=said, start_new_session=True
            )
        self.running[number] = machine
        self.started.append(machine)

    def inside(self, number: int, path: Path) -> Path:
        """Return `path` as the machine of a number sees it."""
        outer = self.running[number].pid
        child = Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="utf-8").strip()
        return Path(f"/proc/{child}/root{path}")

    def workers_on(self, number: int) -> list[Path]:
        """Return the folders that workers keep on a machine's own disk."""
        try:
            return list(self.inside(number, self.folder / "disk").glob("pop-worker-*/lease-*"))
        except OSError:  # it is just starting, or a folder has just gone
            return []

    def lose(self, number: int) -> None:
        """Let a machine die at once, with its disk."""
        machine = self.running.pop(number)
        machine.send_signal(signal.SIGKILL)
        machine.wait(60)

    def close(self) -> None:
        for machine in self.started:
            machine.kill()
            machine.wait(60)
        self.cluster.shutdown()


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make namespaces (root, on Linux)")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    machines = Machines(tmp_path)
    yield machines
    machines.close()


def test_of_machines_that_share_only_an_object_store_one_is_lost_with_its_disk_and_the_run_is_the_same(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = Whole(machines.head_disk), machines.head_disk / "run"
    with object_store(monkeypatch) as store:
        for number in (1, 2):
            machines.boot(number)
        where = {"address": machines.cluster.address, "storage": "s3://bucket/mine", "cpus_per_worker": 1}  # one on each
        config = whole.on_ray(seconds_per_call=0.5, **where)
        process = start(config, run, machines.head_disk)

        def working() -> int:
            assert process.poll() is None, (machines.head_disk / "said.txt").read_text(encoding="utf-8")
            time.sleep(0.05)
            return finished(run)

        while not all(machines.workers_on(number) for number in (1, 2)) or working() < 3:
            working()
        assert not list((machines.folder / "disk").iterdir()), "a disk can be seen from outside"
        machines.lose(1)
        assert working() < DOCUMENTS, "all was done already"
        assert process.wait(300) == 0, (machines.head_disk / "said.txt").read_text(encoding="utf-8")
        seen = list(machines.inside(2, machines.head_disk).iterdir())
        assert seen == [], "nothing of the head's disk was there to be read, and nothing was written to it"
        assert any(key.startswith("mine/round-1/") for key in store.objects) and not (run / "segments").exists()
    assert_same(run, whole, tmp_path)
