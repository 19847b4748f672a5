"""What a cluster costs: throughput by workers, how long a resume takes, and the head's memory by documents.

    python benchmarks/scale.py [--workers 1,2,4] [--in-flight 16,64] [--documents 100000,1000000] [--json FILE]

Throughput: a run on a Ray cluster of this machine, each worker with a simulated server of its own that answers after 0.4 s, so
that what is measured is ours: a worker's loop, its journal, Parquet, and the head that takes it in. `in_flight` calls at once
are what one server could do: `of_servers` is the share of that rate which the workers reach, and efficiency is calls per second
for each worker, against the fewest workers measured. Rates are taken between a tenth and nine tenths of the calls, so start and
tail are not in them. `cpu_s_per_1000` is what all processes of the run but the servers use, their start included. Resume: such
a run is stopped in the middle and begun again: seconds until the first new call is known to the head, the start of Ray and of
the worker included. On a quiet machine all of the throughput takes five minutes.

Memory: the head of a round of so many documents, in a process of its own, which divides the round into shards and makes a
lease; then takes in segments that nobody took in, 256 episodes each. Texts are short.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pop_selfplay as pop
from pop_selfplay.config import RunConfig, parse_config
from pop_selfplay.journal import Tally
from pop_selfplay.journal.schema import Played
from pop_selfplay.observer import Unwatched
from pop_selfplay.records import Document, Episode, Failure, Shard
from pop_selfplay.runs.session import open_session
from pop_selfplay.scale.head import _Head, storage_of, take_in_published
from pop_selfplay.scale.shards import Storage
from pop_selfplay.selfplay import left_to_play

EPISODES, CALLS = 256, 66
"""Of a segment, and of one episode of it: as many calls as 32 candidates with pointwise scores take."""
SECONDS_PER_CALL, PER_PLACE = 0.4, 3
"""Of a simulated server, and how many documents a run has for each call that a server does at once."""
SERVED = f"""
import time
from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
with serving(simulated_app(SimulatedChatModel(SimulatedModel(seconds_per_call={SECONDS_PER_CALL})))) as url:
    print(url, flush=True)
    input()
"""


def config_of(model: dict[str, Any], documents: int, folder: Path, **runner: Any) -> RunConfig:
    """Return a run of so many documents on a cluster."""
    return parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": [str(folder)]},
            "model": model,
            "synthesis": {"documents": documents, "candidates": 8},
            "filter": {"min_words": 1},
            "training": {"type": "none"},
            "measure": {"type": "none"},
            "runner": {"type": "ray", "shards": 256, "cpus_per_worker": 0.1, "publish_s": 5, **runner},
        }
    )


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a simulated server in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", SERVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.write("\n")
        process.stdin.flush()


class Clock(Unwatched):
    """Knows how many calls there were when, and ends the run once there are `enough`."""

    def __init__(self, enough: float = math.inf) -> None:
        self.began, self.enough = time.monotonic(), enough
        self.seen: list[tuple[float, int]] = []

    def refresh(self, tally: Tally, money: float) -> None:
        calls = tally.calls.total()
        self.seen.append((time.monotonic() - self.began, calls))
        if calls >= self.enough:
            self.enough = math.inf
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    def rate(self) -> float:
        """Return calls per second between a tenth and nine tenths of the calls."""
        last = self.seen[-1][1]
        inner = [(seconds, calls) for seconds, calls in self.seen if 0.1 * last <= calls <= 0.9 * last]
        (start, few), (end, many) = inner[0], inner[-1]
        return (many - few) / (end - start)

    def first_new(self) -> float:
        """Return the seconds until there was a call more than at first."""
        return next(seconds for seconds, calls in self.seen if calls > self.seen[0][1])


@contextmanager
def served(workers: int, in_flight: int) -> Iterator[tuple[RunConfig, Path]]:
    """Yield a run of 20 s or so on as many servers as workers, and a folder for it."""
    with ExitStack() as opened, tempfile.TemporaryDirectory() as name:
        folder, documents = Path(name), workers * in_flight * PER_PLACE
        (folder / "texts").mkdir()
        for number in range(documents):
            (folder / "texts" / f"{number}.txt").write_text(f"text {number} of many about plants", encoding="utf-8")
        urls = [opened.enter_context(server()) for _ in range(workers)]
        model = {"type": "endpoint", "base_urls": urls, "model": "simulated", "n": "never", "max_in_flight": in_flight}
        yield config_of(model, documents, folder / "texts", workers=workers, shards=4 * workers), folder


def throughput(workers: int, in_flight: int) -> dict[str, float]:
    """Play a run on `workers` workers with a server each, which does `in_flight` calls at once."""
    with served(workers, in_flight) as (config, folder):
        before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), Clock()
        result = pop.run(config, folder / "run", clock)
        wall, after = time.monotonic() - clock.began, resource.getrusage(resource.RUSAGE_CHILDREN)
        calls, rate = sum(cost.calls for cost in result.usage), clock.rate()
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + time.process_time()
        return {"workers": workers, "in_flight": in_flight, "calls": calls, "with_start_s": round(wall, 1)} | {
            "calls_per_s": round(rate, 1),
            "of_servers": round(rate * SECONDS_PER_CALL / in_flight / workers, 3),
            "cpu_s_per_1000": round(1000 * used / calls, 2),
        }


def resume(workers: int, in_flight: int) -> dict[str, float]:
    """Stop such a run at a third, and begin it again until there is something new."""
    with served(workers, in_flight) as (config, folder):
        calls = config.synthesis.documents * (config.synthesis.candidates * 2 + 2)
        for enough in (calls / 3, calls / 2):
            clock = Clock(enough)
            with suppress(asyncio.CancelledError):
                pop.run(config, folder / "run", clock)
    return {"workers": workers, "in_flight": in_flight, "resume_s": round(clock.first_new(), 1)}


def segment(round_: int, first: int, shard: Shard, storage: Storage) -> None:
    """Publish a segment of 256 episodes, from the `first` document on, that all failed at their end."""
    lost = Failure(stage="judge", reason="too_few_scored")
    episodes = []
    for number in range(first, first + EPISODES):
        id_ = f"{round_}/{number}/0"
        record = Episode(id=id_, round=round_, document_id=str(number), failure=lost).model_dump_json()
        call = (round_, "0" * 16, "", "word " * 40, "stop", 100, 0, 40, "")
        calls = tuple((id_, "solver", str(item), 0, *call) for item in range(CALLS))
        episodes.append(Played(id_, round_, lost.stage, lost.reason, record, calls))
    storage.publish(round_, shard, first // EPISODES + 1, episodes)


def head(documents: int, segments: int) -> dict[str, float]:
    """Measure the head of a round of so many documents, of which some segments were published and not taken in."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        config = config_of({"type": "simulated"}, documents, Path(name), shards=max(64, documents // 1000))
        run.with_suffix(".json").write_text(config.model_dump_json(), encoding="utf-8")
        command = [sys.executable, __file__, "--only", "fill", str(run), str(documents), str(segments)]
        subprocess.run(command, check=True)  # apart, so that its memory is not the head's
        with open_session(run, config) as session:
            base, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            take_in_published(session, 1)
            taken, began = time.process_time() - began, time.process_time()
            todo = left_to_play(session, 1)
            acting = _Head(session, ModuleType("ray"), None, 1, frozenset())
            acting._divide(todo)
            planned, began = time.process_time() - began, time.process_time()
            acting._lease(acting._waiting[0], config.budget)
            leased = time.process_time() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"documents": documents, "mb": peak // 1024, "mb_before": base // 1024, "plan_s": round(planned, 2)} | {
        "lease_s": round(leased, 3),
        "take_in_s_per_1000_episodes": round(1000 * taken / max(1, segments * EPISODES), 2),
    }


def fill(run: Path, documents: int, segments: int) -> None:
    """Make a run with so many short documents for round 1, and publish segments of the first ones."""
    config = parse_config(json.loads(run.with_suffix(".json").read_text(encoding="utf-8")))
    rows = [Document(id=str(number), text=f"text {number} of many about plants") for number in range(documents)]
    with open_session(run, config) as session:
        session.journal.store_documents([[], rows], {})
        storage = Storage(storage_of(session))
        storage.claim(session.journal.run_id)
    for number in range(segments):
        segment(1, number * EPISODES, Shard(1, 1), storage)


def apart(what: str, *arguments: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--only", what, *map(str, arguments)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    sys.stderr.write(f"{found}\n")
    return found


def whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--in-flight", default="16,64")
    parser.add_argument("--documents", default="100000,1000000")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        what, *numbers = options.only
        if what == "fill":
            fill(Path(numbers[0]), *map(int, numbers[1:]))
            return
        measure = {"throughput": throughput, "resume": resume, "head": head}[what]
        sys.stdout.write(json.dumps(measure(*map(int, numbers))) + "\n")
        return
    workers, in_flight = whole_numbers(options.workers), whole_numbers(options.in_flight)
    played = [apart("throughput", count, places) for places in in_flight for count in workers]
    for one in played:
        alone = next(other for other in played if other["in_flight"] == one["in_flight"])
        one["efficiency"] = round(one["calls_per_s"] * alone["workers"] / one["workers"] / alone["calls_per_s"], 3)
    resumed = [apart("resume", workers[0], in_flight[0])] if played else []
    heads = [apart("head", documents, 8) for documents in whole_numbers(options.documents)]
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    found = {"machine": machine, "throughput": played, "resume": resumed, "head": heads}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
