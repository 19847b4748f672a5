"""How fast a large run is looked at: `pop status` in full, and every page of the viewer.

    python -m benchmarks.viewer [--episodes N] [--candidates N] [--directory DIR] [--json FILE]

Makes a run with as many finished episodes, scores and reasons drawn by chance, and another one like it, and measures, by
the clock and with the page cache warm: making the summaries that a run keeps while it goes on, `pop status` with them (limit
5 s; the command, from its start to its last line), building the viewer's index, and then each page, as the browser asks for it
(limit 200 ms): the list with every filter, sort order and queue, searches, its last page, an episode, a call, a label form, the
live figures and both runs compared. The slowest of five requests counts, the first one included; on a machine with other work,
what counts is the CPU time, which stands beside it. The second run is a copy of the first one under another id, whose index
says other scores.
"""

import argparse
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.journal import TEXT, VOCABULARY, begun_run, calls_of
from starlette.testclient import TestClient

from pop_selfplay.records import Candidate, Criterion, Episode, Evaluation, Problem, Rating, Rubric
from pop_selfplay.report.result import Summaries
from pop_selfplay.runs.session import watch_session
from pop_selfplay.viewer.app import Viewer
from pop_selfplay.viewer.index import FILE, QUEUES, SORTS, Query

EPISODES, CANDIDATES, REQUESTS = 100_000, 8, 5
LIMITS = {"status_s": 5.0, "page_ms": 200.0}
NAMES = ("Dose", "Warning", "Plan")
FAILURES = (("proposer", "points_at_text"), ("solver", "too_few_valid"), ("judge", "too_few_scored"))


def make_run(path: Path, episodes: int, candidates: int) -> None:
    """Make a run directory with so many finished episodes, a tenth of them failed, and a tenth as many documents more."""
    run, documents = begun_run(path, episodes, candidates)
    with run, run.journal() as journal:
        run.keep_domain(None)
        run.note_config(journal)
    rng = random.Random(0)
    places = ", ".join(["?"] * 13)
    with closing(sqlite3.connect(run.journal_path, isolation_level=None)) as db:
        for start in range(0, episodes, 1000):
            db.execute("BEGIN")
            for document in documents[start : min(start + 1000, episodes)]:
                episode = played(f"1/{document.id}/0", document.id, candidates, rng)
                db.executemany(f"INSERT INTO calls VALUES ({places})", calls_of(episode.id, candidates))
                failure = episode.failure
                ended = (failure.stage, failure.reason) if failure else ("", "")
                db.execute("INSERT INTO episodes VALUES (?, 1, ?, ?, ?)", (episode.id, *ended, episode.model_dump_json()))
            db.execute("COMMIT")


def played(id_: str, document_id: str, candidates: int, rng: random.Random) -> Episode:
    """Return a finished episode as a journal stores it; the candidates' texts are in their calls."""
    if rng.random() < 0.1:
        stage, reason = rng.choice(FAILURES)
        return Episode.model_validate(
            {"id": id_, "round": 1, "document_id": document_id, "failure": {"stage": stage, "reason": reason}}
        )
    problem = " ".join(rng.choices(VOCABULARY, k=40))
    ratings = [[rng.choice((0, 1, 1.5, 2)) for _ in NAMES] for _ in range(candidates)]
    return Episode(
        id=id_,
        round=1,
        document_id=document_id,
        problem=Problem(id=id_, document_id=document_id, text=problem, reference_answer=TEXT),
        candidates=tuple(Candidate(index=n, completion="", answer="") for n in range(candidates)),
        rubric=Rubric(criteria=tuple(Criterion(name=name, description=TEXT, weight=1, gold=TEXT) for name in NAMES)),
        evaluations=tuple(
            Evaluation(
                candidate=n,
                ratings=tuple(Rating(criterion=c, rating=r) for c, r in zip(NAMES, of, strict=True)),
                score=sum(of) / len(of),
            )
            for n, of in enumerate(ratings)
        ),
    )


def status(run: Path) -> dict[str, float]:
    """Return the seconds that `pop status` takes, from its start to its end, and those of a CPU; the best of three."""
    took = []
    for _ in range(3):
        start, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-m", "pop_selfplay", "status", str(run)], check=True, capture_output=True)
        after = os.times()
        cpu = after.children_user - before.children_user + after.children_system - before.children_system
        took.append((time.perf_counter() - start, cpu))
    return {"seconds": round(min(s for s, _ in took), 2), "cpu_seconds": round(min(cpu for _, cpu in took), 2)}


def keep_summaries(run: Path) -> float:
    """Make the summaries that the process which plays would have made, and return the seconds that it took."""
    start = time.perf_counter()
    with watch_session(run) as session, closing(Summaries(session, keep=True)) as summaries:
        summaries.read()
    return time.perf_counter() - start


def pages(viewer: Viewer) -> Iterator[tuple[str, str]]:
    """Yield what is asked for, by name."""
    index = viewer.places[0].index
    kept = index.find(Query(kept="kept", sort="spread")).entries[0].id
    filters = {
        "round": "1",
        "kept": "dropped",
        "lost": "solver.too_few_valid",
        "document": "books/00123",
        "min_spread": "1.2",
        "labelled": "yes",
        "text": "word17 word4",
        "page": "1800",
    }
    yield "list", "/run/0"
    yield from ((f"list, {name}={value}", "/run/0?" + urlencode({name: value})) for name, value in filters.items())
    yield "list, a word that many have", "/run/0?text=dose"
    yield "list, a word that none has", "/run/0?text=zebra"
    yield from ((f"list, sorted by {name}", f"/run/0?sort={name}") for name in SORTS)
    yield from ((f"queue {name}", f"/run/0?queue={name}") for name in QUEUES)
    yield "episode", "/run/0/episode?" + urlencode({"id": kept, "cell": "0.1"})
    yield "episode from a search", "/run/0/episode?" + urlencode({"id": kept, "from": "text=dose&kept=kept&sort=spread"})
    yield "call", "/run/0/call?" + urlencode({"id": kept, "role": "judge", "item": "0", "attempt": 0})
    yield "label", "/run/0/label"
    yield "live", "/run/0/live"
    yield "home", "/"
    yield "compare", "/compare?a=0&b=1"
    yield "compare, page 900", "/compare?a=0&b=1&page=900"
    yield "compare, by problem", "/compare?a=0&b=1&by=problem"


def another(run: Path, to: Path) -> None:
    """Copy an indexed run under another id, with other scores in its index."""
    shutil.copytree(run, to)
    with closing(sqlite3.connect(to / "run.db")) as db, db:
        db.execute("UPDATE meta SET value = 'another' WHERE key = 'run_id'")
    with closing(sqlite3.connect(to / FILE)) as db, db:
        db.execute("UPDATE meta SET value = 'another' WHERE key = 'run'")
        db.execute(
            "UPDATE episodes SET best = best - abs(random() % 100) / 300.0, apart = abs(random() % 100) WHERE best > 0.4"
        )
        db.execute("UPDATE episodes SET spread = best - worst")


def look(run: Path) -> dict[str, Any]:
    """Index the run and ask for every page."""
    viewer = Viewer([run])
    start = time.perf_counter()
    while viewer.places[0].indexer.step():
        pass
    indexed = time.perf_counter() - start
    runs = [run, run.with_name("another")]
    another(*runs)
    viewer = Viewer(runs)
    viewer.start()
    for place in viewer.places:
        place.indexer.done.wait()
    found = {}
    with TestClient(viewer.app(["testserver"]), follow_redirects=False) as client:
        for name, address in pages(viewer):
            took, cpu = [], []
            for _ in range(REQUESTS):
                start, before = time.perf_counter(), time.process_time()
                answer = client.get(address)
                took.append(1000 * (time.perf_counter() - start))
                cpu.append(1000 * (time.process_time() - before))
                assert answer.status_code in (200, 303), (name, answer.status_code)
            slowest, median = round(max(took), 1), round(statistics.median(took), 1)
            found[name] = {"first": round(took[0], 1), "slowest": slowest, "median": median, "cpu": round(max(cpu), 1)}
    viewer.stop()
    return {"index_s": round(indexed, 1), "index_mb": round((run / FILE).stat().st_size / 2**20), "pages_ms": found}


def measure(folder: Path, episodes: int, candidates: int) -> dict[str, Any]:
    run = folder / "run"
    make_run(run, episodes, candidates)
    summaries = keep_summaries(run)
    figures = {
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "load": round(os.getloadavg()[0], 1),
        "episodes": episodes,
        "candidates": candidates,
        "journal_mb": round((run / "run.db").stat().st_size / 2**20),
        "summaries_s": round(summaries, 1),
        "summaries_mb": round((run / "summary.db").stat().st_size / 2**20),
        "status": status(run),
    }
    looked = look(run)
    slowest = max(looked["pages_ms"], key=lambda name: looked["pages_ms"][name]["slowest"])
    return {**figures, **looked, "slowest_page": slowest, "limits": LIMITS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--directory", type=Path, help="where the runs are made; needs 4 GB for 100,000 episodes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        report = json.dumps(measure(Path(folder), arguments.episodes, arguments.candidates), indent=1)
    sys.stdout.write(report + "\n")
    if arguments.json:
        arguments.json.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
