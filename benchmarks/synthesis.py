"""How full a run keeps its model server, and what an example costs, on the shipped simulated server or on any other.

    python benchmarks/synthesis.py [--base-url URL] [--model NAME] [--speedup X] [--only NAME] [--json FILE]

An example is the whole method with the paper's settings: one document of 400 words, one proposal, 32 candidates, one rubric,
32 evaluations. Each run has a directory and a server of its own:

| run | what |
| --- | --- |
| tail | 128 examples, all of it counted: starting up, and waiting for the last one |
| steady | 512 examples, and what one costs between the moments when the 64th and when the 448th was finished |
| runaways | as tail, while one answer in a hundred never ends, and is cut off at `synthesis.solver.first_tokens` 1536 |
| runaways_uncut | the same with the paper's limit of 6144 tokens alone |
| client | what the HTTP client costs by itself: benchmarks/client.py |

All times are in seconds of the simulated machine: 20 ms a step and 0.1 ms more for each of up to 256 sequences, 15,000 prompt
tokens a second. The bound is what the same tokens cost on a machine that is never idle: tokens ÷ (256 ÷ 45.6 ms) for those
written, and ÷ 15,000 for those of the prompts that were not cached. The server runs on the last core, the client on the first
one; where `server_cpu_share` is over 0.6 or `lag_ms` over 5, the simulated server was late itself: lower the speed-up.

With --base-url the runs are played on that server, and its own clock counts; one run after the other shares its cache.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that the benchmarks find each other, wherever this is started

from benchmarks.synthesis_bound import CANDIDATES, DOCUMENT_WORDS, bound, expected

from pop_selfplay.config import parse_config
from pop_selfplay.journal import Tally
from pop_selfplay.models.simulated.prose import prose
from pop_selfplay.observer import Unwatched
from pop_selfplay.results.run import RoundResult
from pop_selfplay.runs.session import open_session
from pop_selfplay.selfplay import play_synthesis

WARM_UP = DRAIN = 64


class Run(NamedTuple):
    """What is played. `limit` is what is to be reached, `reference` what the reference needs: seconds per example."""

    examples: int
    limit: float | None
    reference: str
    runaway_rate: float = 0.0
    first_tokens: int | None = None


RUNS: Final = {
    "tail": Run(128, 5.9, "14.7 with its 16 workers, 7.35 with 64"),
    "steady": Run(512, 5.6, "14.7 with its 16 workers, 7.35 with 64"),
    "runaways": Run(128, 5.8, "19.1", runaway_rate=0.01, first_tokens=1536),
    "runaways_uncut": Run(128, None, "19.1", runaway_rate=0.01),
}
REFERENCE: Final = {
    "source": (
        "the schedule of the method's published code, simulated on a server of the same speed and not measured again here: "
        "16 examples in flight, the candidates of an example scored one after the other, and a barrier every 64 examples"
    ),
    "seconds_per_example": {"16 workers": 14.7, "64 workers": 7.35},
    "seconds_per_example_with_runaways": 19.1,
    "mean_running": 56,
    "bound": 5.37,
    "bound_with_runaways": 6.1,
}
MEAN_RUNNING_LIMIT: Final = 245.0
COUNTED: Final = ("window_s", "running_s", "decoding_s", "prompt_tokens", "cached_tokens", "generated_tokens")
"""What the server's statistics add up since its start."""


# --- the server -------------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    base_url: str
    model: str

    def statistics(self) -> dict[str, Any]:
        """Return what /stats says, nothing where the server has no such page."""
        try:
            with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=10) as reply:
                found: dict[str, Any] = json.load(reply)
                return found
        except (OSError, ValueError):
            return {}


@contextlib.contextmanager
def simulated(speedup: float, runaway_rate: float) -> Iterator[Server]:
    """Start the shipped server on the last core."""
    command = [sys.executable, "-m", "pop_selfplay", "simulate", "--port", "0", "--speedup", str(speedup)]
    command += ["--runaway-rate", str(runaway_rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = re.match(r"serving (\S+/v1):", said)
            if address is None:
                raise SystemExit(f"the simulated server did not start: {said}")
            pin(process.pid, -1)
            yield Server(address[1], "simulated")
        finally:
            process.terminate()


def pin(process: int, core: int) -> None:
    """Bind a process (0: this one) to one core, where the machine has several and the system can."""
    if len(CORES) > 1:
        os.sched_setaffinity(process, {CORES[core]})


CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


# --- one run ----------------------------------------------------------------------------------------------------------


class Progress(Unwatched):
    """Notes when how many examples were finished, and asks the server for its statistics now and then, from a thread."""

    def __init__(self, server: Server) -> None:
        self.finished: list[tuple[float, int]] = []
        self.statistics: list[tuple[float, dict[str, Any]]] = []
        self.tally = Tally()
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def refresh(self, tally: Tally, money: float) -> None:
        self.tally = tally
        self.finished.append((time.monotonic(), tally.episodes.total()))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._note()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self._note()

    def _note(self) -> None:
        if found := self._server.statistics():
            self.statistics.append((time.monotonic(), found))

    def between(self, first: int, last: int, speedup: float) -> dict[str, float]:
        """Return the figures from the moment when `first` examples were finished to that of `last`.

        Sequences that decode are fewer than those that run by those whose prompt waits to be read. `share_of_bound` is the time
        that the tokens of this while would have taken at best, as a share of the time that passed.
        """
        (began, from_), (ended, to) = (next(at for at in self.finished if at[1] >= count) for count in (first, last))
        by_count = (ended - began) * speedup / (to - from_)
        figures = {"seconds_per_example": by_count, "seconds_per_finished_example": by_count}
        inside = [found for at, found in self.statistics if began <= at <= ended]
        if len(inside) > 1:
            passed = {name: inside[-1][name] - inside[0][name] for name in COUNTED}
            figures["mean_running"] = passed["running_s"] / passed["window_s"]
            figures["mean_decoding"] = passed["decoding_s"] / passed["window_s"]
            tokens = {kind: passed[f"{kind}_tokens"] for kind in ("prompt", "cached", "generated")}
            figures["share_of_bound"] = bound(tokens) / passed["window_s"]
        return figures


def write_documents(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        text = prose(random.Random(f"document {number}"), DOCUMENT_WORDS)
        (folder / f"{number:05}.txt").write_text(text, encoding="utf-8")


def play(run: Run, server: Server, folder: Path) -> dict[str, Any]:
    """Play one run and return its figures."""
    write_documents(folder / "texts", run.examples)
    synthesis: dict[str, Any] = {"documents": run.examples, "candidates": CANDIDATES}
    if run.first_tokens is not None:
        synthesis["solver"] = {"first_tokens": run.first_tokens}
    config = parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": [str(folder / "texts")]},
            "model": {"type": "endpoint", "base_url": server.base_url, "model": server.model},
            "synthesis": synthesis,
            "training": {"type": "none"},
            "measure": {"type": "none"},
        }
    )
    progress = Progress(server)
    cpu, began = time.process_time(), time.monotonic()
    with open_session(folder / "run", config, progress) as session:
        result = play_synthesis(session)
    real_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    progress.end()
    return figures_of(run, progress, result.rounds[0], real_s, cpu_s)


def figures_of(run: Run, progress: Progress, round_: RoundResult, real_s: float, cpu_s: float) -> dict[str, Any]:
    found = progress.statistics[-1][1] if progress.statistics else {}
    speedup = found.get("speedup", 1.0)
    tokens = {kind: progress.tally.total_tokens(kind) / run.examples for kind in ("prompt", "cached", "generated")}
    window_s = found.get("window_s", real_s)
    figures = {
        "examples": run.examples,
        "runaway_rate": run.runaway_rate,
        "speedup": speedup,
        "seconds_per_example": window_s / run.examples,
        "bound": bound(tokens),
        "mean_running": found.get("mean_running"),
        "mean_decoding": found.get("mean_decoding"),
        "tokens_per_example": tokens,
        "scored": progress.tally.episodes[1, "", ""],
        "pairs": round_.pairs,
        "real_s": real_s,
        "client_cpu_share": cpu_s / real_s,
        "server_cpu_share": found.get("server_cpu_share"),
        "lag_ms": found.get("delivery_lag_real_ms"),
        "limit": run.limit,
    }
    if run.examples > 2 * (WARM_UP + DRAIN):
        figures["steady"] = steady = progress.between(WARM_UP, run.examples - DRAIN, speedup)
        if "share_of_bound" in steady:
            # By what the server worked off, and not by whole examples: many are half done at either end.
            steady["seconds_per_example"] = figures["bound"] / steady["share_of_bound"]
    return figures


# --- the report -------------------------------------------------------------------------------------------------------


def client() -> dict[str, Any]:
    """Return what benchmarks/client.py measures of our client."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "client.json"
        command = [sys.executable, str(Path(__file__).with_name("client.py")), "--json", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def row(name: str, figures: dict[str, Any]) -> str:
    """Return one line of the table: seconds per example, and sequences at once of 256."""
    counted = figures.get("steady", figures)
    limit = figures["limit"]
    verdict = "" if limit is None else "reached" if counted["seconds_per_example"] <= limit else "MISSED"
    running = counted.get("mean_running")
    return (
        f"{name:15} {counted['seconds_per_example']:6.2f} s  bound {figures['bound']:5.2f}  limit {limit or '-':>4} {verdict:8}"
        f"{f'{running:6.1f} at once' if running else '':15}  reference {RUNS[name].reference}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base-url", help="play on this server, instead of starting the shipped simulated one")
    parser.add_argument("--model", default="simulated", help="the name of the model there")
    parser.add_argument("--speedup", type=float, default=10.0, help="of the simulated server")
    parser.add_argument("--only", choices=[*RUNS, "client"], action="append", help="just this one; may be repeated")
    parser.add_argument("--examples", type=int, help="fewer or more examples than the run has")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        "mean_running_limit": MEAN_RUNNING_LIMIT,
        "reference": REFERENCE,
        "expected": {"tokens_per_example": expected(), "bound": bound(expected())},
        "runs": {},
    }
    say(f"by arithmetic   {report['expected']['bound']:6.2f} s  an example, on a machine that never waits")
    chosen = arguments.only or [*RUNS, "client"]
    if "client" in chosen and not arguments.base_url:
        report["client"] = client()
        say(f"client          {json.dumps(report['client'])}")
    pin(0, 0)
    for name in (name for name in RUNS if name in chosen):
        run = RUNS[name]._replace(**({"examples": arguments.examples} if arguments.examples else {}))
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if arguments.base_url:
                server = Server(arguments.base_url, arguments.model)
            else:
                server = stack.enter_context(simulated(arguments.speedup, run.runaway_rate))
            report["runs"][name] = play(run, server, folder)
        say(row(name, report["runs"][name]))
    report["load"] = round(os.getloadavg()[0], 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounded(report), indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def rounded(value: Any) -> Any:
    """Return `value` with every float in it cut to three digits after the point."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
