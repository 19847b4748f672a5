"""How the run directory carries a large run: opening it, planning what is left, exporting it, and what a commit costs.

    python benchmarks/journal.py [--episodes N] [--candidates N] [--directory DIR] [--json FILE]

Makes a journal with as many finished episodes, and a tenth as many documents still to be played, and then measures, each in
a process of its own: open and plan, with the file in the page cache and without it (limit 3 s); `pop status`, its first line
and all its figures; the export of all pairs to Parquet, with its peak memory; and finished calls per second (limit 5000),
looked up and written as a run does it. Problems are not compared with each other: that is the pairing's work, not the
journal's. Texts are short, 40 words, so that 6.6 million calls fit on a small disk: planning reads none of them. On a machine
with other work, what counts is `calls_per_cpu_s`.
"""

import argparse
import json
import os
import platform
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from pop_selfplay.config import parse_config
from pop_selfplay.episode import episode_id, unfinished
from pop_selfplay.journal import CallKey, Journal, RunDirectory, StoredCall
from pop_selfplay.journal.pairs import write_pairs
from pop_selfplay.pairing import pairs_of
from pop_selfplay.records import (
    Candidate,
    Completion,
    Criterion,
    Document,
    Episode,
    Evaluation,
    Problem,
    Rating,
    Rubric,
)
from pop_selfplay.report.result import compute_result
from pop_selfplay.report.tables import status_line
from pop_selfplay.runs.session import watch_session

EPISODES, CANDIDATES = 100_000, 32
LEFT_SHARE = 0.1
CALLS = 20_000
LIMITS = {"open_and_plan_s": 3.0, "calls_per_s": 5000.0}
TEXT = " ".join(["word"] * 40)
VOCABULARY = [f"word{n}" for n in range(5000)]
MEASURES = ("plan", "status", "export")


def begun_run(path: Path, episodes: int, candidates: int, **parts: Any) -> tuple[RunDirectory, list[Document]]:
    """Make a run directory with documents for so many episodes and a tenth more, and return it with them."""
    config = parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": ["texts"]},
            "model": {"type": "simulated"},
            "synthesis": {"documents": episodes, "candidates": candidates},
            "training": {"type": "none"},
            "measure": {"type": "none"},
            **parts,
        }
    )
    run = RunDirectory.create(path, config)
    documents = [
        Document(id=f"books/{n:07d}.txt", text=" ".join([str(n), *["text"] * 299]))
        for n in range(episodes + int(LEFT_SHARE * episodes))
    ]
    with run.journal() as journal:
        journal.store_documents([[], documents], {})
    return run, documents


def make_run(path: Path, episodes: int, candidates: int) -> None:
    """Make a run directory whose journal holds `episodes` finished episodes and a tenth as many documents more."""
    run, documents = begun_run(path, episodes, candidates, pairing={"near_duplicate_problems": None})
    template, places = played("@ID@", "@DOCUMENT@", candidates).model_dump_json(), ", ".join(["?"] * 13)
    rng = random.Random(0)
    with closing(sqlite3.connect(run.journal_path, isolation_level=None)) as db:
        for start in range(0, episodes, 1000):
            db.execute("BEGIN")
            for document in documents[start : min(start + 1000, episodes)]:
                id_ = episode_id(1, document.id, 0)
                db.executemany(f"INSERT INTO calls VALUES ({places})", calls_of(id_, candidates))
                problem = " ".join(rng.choices(VOCABULARY, k=40))
                record = template.replace("@ID@", id_).replace("@DOCUMENT@", document.id).replace("@PROBLEM@", problem)
                db.execute("INSERT INTO episodes VALUES (?, 1, '', '', ?)", (id_, record))
            db.execute("COMMIT")


def calls_of(id_: str, candidates: int) -> list[tuple[Any, ...]]:
    """Return the rows of one episode's calls: a proposal, a rubric, and an answer and an evaluation for each candidate."""
    asked = [
        ("proposer", ""),
        ("rubric_writer", ""),
        *((role, str(n)) for role in ("solver", "judge") for n in range(candidates)),
    ]
    return [
        (id_, role, item, 0, 1, "0" * 16, "", f"<answer>{item} {TEXT}</answer>", "stop", 900, 600, 50, "")
        for role, item in asked
    ]


def played(id_: str, document_id: str, candidates: int) -> Episode:
    """Return a scored episode; the candidates' texts are in their calls."""
    names = ("Dose", "Warning", "Plan")
    return Episode(
        id=id_,
        round=1,
        document_id=document_id,
        problem=Problem(id=id_, document_id=document_id, text="@PROBLEM@", reference_answer=TEXT),
        candidates=tuple(Candidate(index=n, completion="", answer="") for n in range(candidates)),
        rubric=Rubric(criteria=tuple(Criterion(name=name, description=TEXT, weight=1, gold=TEXT) for name in names)),
        evaluations=tuple(
            Evaluation(candidate=n, ratings=tuple(Rating(criterion=c, rating=n % 3) for c in names), score=n % 3)
            for n in range(candidates)
        ),
    )


def plan(directory: Path) -> dict[str, float]:
    """Open the run and plan what is left of it."""
    start = time.perf_counter()
    with RunDirectory.open(directory) as run, run.journal() as journal:
        opened = time.perf_counter()
        left = unfinished(journal, 1, 1)
        tally = journal.tally
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "open_s": opened - start, "left": len(left), "calls": tally.calls.total()}


def status(directory: Path) -> dict[str, float]:
    """Compute what `pop status` shows: how far the run is, and then every figure of its result."""
    before, start = peak_mb(), time.perf_counter()
    with watch_session(directory) as session:
        status_line(session)
        said = time.perf_counter()
        compute_result(session, {})
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "first_line_s": said - start, "peak_mb": peak_mb(), "peak_before_mb": before}


def export(directory: Path) -> dict[str, float]:
    """Write all pairs of the run to Parquet beside the run directory."""
    out = directory.with_suffix(".parquet")
    before, start = peak_mb(), time.perf_counter()
    with watch_session(directory) as session:
        count = write_pairs(pairs_of(session.journal, session.domain, session.config, 1), out)
    result = {"seconds": time.perf_counter() - start, "pairs": count, "file_mb": out.stat().st_size / 2**20}
    out.unlink()
    return result | {"peak_mb": peak_mb(), "peak_before_mb": before}


def calls(folder: Path) -> dict[str, int]:
    """Look up and write calls of 2000 characters one by one, as a run does, by the clock and by this process's CPU time."""
    completion = Completion("word " * 400, "stop", 900, 400)
    with Journal.open(folder / "calls.db") as journal:
        start, cpu_start = time.perf_counter(), time.process_time()
        for n in range(CALLS):
            key = CallKey(1, f"1/books/{n // 66:07d}.txt/0", "solver", str(n % 66), 0)
            journal.find_call(key)
            journal.find_call(key)
            journal.record_call(key, StoredCall("0" * 16, "", completion))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {"calls_per_s": round(CALLS / seconds), "calls_per_cpu_s": round(CALLS / cpu_seconds)}


def peak_mb() -> float:
    """Return the peak resident memory of this process alone; getrusage would begin with that of the process it came from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
    assert peak is not None
    return int(peak[1]) / 1024


def forget(path: Path) -> None:
    """Take the file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_own_process(measure: str, directory: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--directory", str(directory)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    result: dict[str, float] = json.loads(said)
    return {name: round(value, 3) for name, value in result.items()}


def measure_all(folder: Path, episodes: int, candidates: int) -> dict[str, Any]:
    directory = folder / "run"
    start = time.perf_counter()
    make_run(directory, episodes, candidates)
    made = time.perf_counter() - start
    journal = directory / "run.db"
    forget(journal)
    cold = in_own_process("plan", directory)
    warm = in_own_process("plan", directory)
    return {
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "load": round(os.getloadavg()[0], 1),
        "episodes": episodes,
        "candidates": candidates,
        "journal_mb": round(journal.stat().st_size / 2**20),
        "make_s": round(made, 1),
        "open_and_plan_cold": cold,
        "open_and_plan": warm,
        "status": in_own_process("status", directory),
        "export": in_own_process("export", directory),
        **calls(folder),
        "limits": LIMITS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--directory", type=Path, help="where the journal is made; needs 5 GB for 100,000 episodes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        sys.stdout.write(json.dumps({"plan": plan, "status": status, "export": export}[arguments.measure](arguments.directory)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        report = json.dumps(measure_all(Path(folder), arguments.episodes, arguments.candidates), indent=1)
    sys.stdout.write(report + "\n")
    if arguments.json:
        arguments.json.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
