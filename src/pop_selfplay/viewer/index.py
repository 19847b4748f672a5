"""The index of a run: one row for each finished episode, with its figures and its words, in `view.db` beside the run.

run.db is never written. indexer.py fills the index in the background; where the run's directory cannot be written it lies in a
temporary one. It may be removed at any time.

A new figure to sort or filter by is a column in `_SCHEMA`, a field of `Entry`, and a line in `SORTS` or `QUEUES`.
"""

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pop_selfplay import labels
from pop_selfplay.report.result import WORTH_KEEPING, Summaries, repeated
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed

FILE: Final = "view.db"
_REPEAT: Final = "pair.near_duplicate_problem"
_VERSION: Final = 2
PAGE: Final = 50
"""Episodes on a page of the list."""

_SCHEMA: Final = f"""
CREATE TABLE episodes (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, round INTEGER NOT NULL, document TEXT NOT NULL, lost TEXT NOT NULL,
    candidates INTEGER NOT NULL, best REAL, worst REAL, spread REAL, apart INTEGER, torn REAL, mass REAL, reference REAL,
    labels INTEGER NOT NULL DEFAULT 0, draw INTEGER NOT NULL, said INTEGER
);
CREATE INDEX by_round ON episodes (round, lost);
CREATE INDEX by_loss ON episodes (lost, draw, round);
CREATE INDEX by_closeness ON episodes (lost, spread);
CREATE INDEX by_document ON episodes (document);
CREATE INDEX by_spread ON episodes (spread);
CREATE INDEX by_narrowness ON episodes (spread IS NULL, spread);
CREATE INDEX by_torn ON episodes (torn);
CREATE INDEX by_mass ON episodes (mass);
CREATE INDEX by_apart ON episodes (apart);
CREATE INDEX by_reference ON episodes (reference);
CREATE INDEX by_best ON episodes (best);
CREATE INDEX by_labels ON episodes (labels);
CREATE VIRTUAL TABLE words USING fts5(problem, reference, rubric, chosen, rejected);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version={_VERSION};
"""
_FIGURES: Final = "candidates, best, worst, spread, apart, torn, mass, e.reference, labels"
_ENTRY: Final = f"e.id, round, document, lost, substr(problem, 1, 400), {_FIGURES}"
_ENTRIES: Final = f"SELECT {_ENTRY} FROM episodes AS e JOIN words AS w ON w.rowid = e.row WHERE e.row"
"""Problems are read where their words are, so that a look through all episodes reads no text."""


class Entry(NamedTuple):
    """One episode in the list. `lost` is "" for a kept pair, else stage.reason; figures are None where there are none.

    `best`, `worst` are scores, `spread` their difference, `apart` the words by which chosen and rejected differ, `torn` how far
    from whole the judge's ratings are, 0 to 1, `mass` the least probability that its ratings had, `reference` the reference
    answer's score minus the median candidate's.
    """

    id: str
    round: int
    document: str
    lost: str
    problem: str
    candidates: int
    best: float | None
    worst: float | None
    spread: float | None
    apart: int | None
    torn: float | None
    mass: float | None
    reference: float | None
    labels: int


class Measured(NamedTuple):
    """The figures by which two runs are compared; `kept` is 1 for a pair."""

    row: int
    document: str
    kept: int
    best: float | None
    worst: float | None
    spread: float | None
    apart: int | None


SORTS: Final = {
    "id": "id",
    "finished": "row DESC",
    "spread": "spread DESC",
    "narrow": "spread IS NULL, spread",
    "best": "best DESC",
    "length": "apart DESC",
    "labels": "labels DESC, row",
}
"""How the list may be sorted: name → SQL."""


class Queue(NamedTuple):
    """A list of what is worth a look first: which episodes, and in which order."""

    title: str
    where: str
    order: str


QUEUES: Final = {
    "torn": Queue("the judge's votes are apart", "torn > 0", "torn DESC"),
    "mass": Queue("ratings with little probability", "mass IS NOT NULL", "mass"),
    "close": Queue("best close to worst", "lost = '' AND spread IS NOT NULL", "spread"),
    "length": Queue("chosen and rejected differ in length", "apart > 0", "apart DESC"),
    "reference": Queue("reference answer below the median", "reference < 0", "reference"),
}


@dataclass(frozen=True)
class Query:
    """What of the list is wanted; "" and None mean everything."""

    text: str = ""
    round: int | None = None
    lost: str = ""
    kept: str = ""
    document: str = ""
    min_spread: float | None = None
    labelled: str = ""
    queue: str = ""
    sort: str = ""
    page: int = 1


@dataclass(frozen=True)
class Found:
    """A page of the list, and how many episodes there are in all."""

    entries: list[Entry]
    count: int


class Index:
    """The index of one run. Safe to use from several threads: each look opens a connection of its own."""

    def __init__(self, session: Session) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.path = session.directory.path / FILE
        try:
            self._make(session.journal.run_id)
        except (sqlite3.Error, OSError):  # a disk that cannot be written, say
            self._folder = tempfile.TemporaryDirectory(prefix="pop-view-")
            self.path = Path(self._folder.name) / FILE
            self._make(session.journal.run_id)

    def _make(self, run_id: str) -> None:
        with self.connect() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            known = db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone() if version == _VERSION else None
            if known == (run_id,):
                db.execute("UPDATE meta SET value = value WHERE key = 'run'")  # can it be written?
                return
        self._remove()
        with self.connect() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO meta VALUES ('run', ?)", (run_id,))

    def close(self) -> None:
        """Remove the index where it lies in a temporary directory."""
        if self._folder is not None:
            self._folder.cleanup()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Open the index, committing at the end of the block."""
        db = sqlite3.connect(self.path, timeout=10)
        try:
            with db:
                yield db
        finally:
            db.close()

    def find(self, query: Query) -> Found:
        """Return one page of the episodes that `query` wants. A text that is no search expression is searched for as words."""
        wanted, values = _conditions(query)
        order = QUEUES[query.queue].order if query.queue in QUEUES and not query.sort else SORTS.get(query.sort, "row")
        where = " AND ".join(wanted) or "1"
        skipped = PAGE * (max(1, query.page) - 1)
        page = f"SELECT row FROM episodes WHERE {where} ORDER BY {order}"
        with self.connect() as db:
            if query.text:  # the search is what takes time: it is done once
                found = [row for (row,) in db.execute(page, values)]
                rows, count = found[skipped : skipped + PAGE], len(found)
            else:
                count = int(db.execute(f"SELECT count(*) FROM episodes WHERE {where}", values).fetchone()[0])
                rows = [row for (row,) in db.execute(f"{page} LIMIT ? OFFSET ?", (*values, PAGE, skipped))]
        return Found(self.entries(rows), count)

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """Return the episodes of these rows in their order; one that is not there any more is left out."""
        wanted = f"{_ENTRIES} IN ({', '.join('?' * len(rows))}) ORDER BY e.row"
        with self.connect() as db:
            there = sorted(row for row in rows if db.execute("SELECT 1 FROM episodes WHERE row = ?", (row,)).fetchone())
            found = dict(zip(there, (Entry(*one) for one in db.execute(wanted, rows)), strict=True))
        return [found[row] for row in rows if row in found]

    def neighbours(self, query: Query, id_: str) -> tuple[str, str]:
        """Return the ids before and after an episode on its page of the list, "" where there is none."""
        ids = [entry.id for entry in self.find(query).entries]
        if id_ not in ids:
            return "", ids[0] if ids else ""
        place = ids.index(id_)
        return ids[place - 1] if place else "", ids[place + 1] if place + 1 < len(ids) else ""

    def entry(self, id_: str) -> Entry | None:
        """Return what the index has on one episode, None where it has not got to it yet."""
        with self.connect() as db:
            row = db.execute(f"{_ENTRIES} = (SELECT row FROM episodes WHERE id = ?)", (id_,)).fetchone()
        return None if row is None else Entry(*row)

    def drawn(self, without: Collection[str]) -> str:
        """Return the id of the kept episode that comes first in an order by a hash, `without` those; "" where none is left."""
        with self.connect() as db:
            ids = db.execute("SELECT id FROM episodes WHERE lost = '' AND round > 0 ORDER BY draw")
            return next((id_ for (id_,) in ids if id_ not in without), "")

    def counts(self) -> dict[tuple[int, str], int]:
        """Return (round, what it was lost for) → episodes."""
        with self.connect() as db:
            rows = db.execute("SELECT round, lost, count(*) FROM episodes GROUP BY round, lost").fetchall()
        return {(round_, lost): count for round_, lost, count in rows}

    def stamp(self) -> tuple[object, ...]:
        """Return what changes whenever the index does, but for its labels."""
        with self.connect() as db:
            marked = db.execute("SELECT value FROM meta WHERE key = 'repeats'").fetchone()
            return _count(db), marked

    def round(self, round_: int, by: str) -> dict[object, Measured]:
        """Return the episodes of a round by what other runs may have, too: document and number, or (by "problem") its words."""
        key = "said" if by == "problem" else "substr(id, 1 + instr(id, '/'))"
        figures = f"SELECT {key}, row, document, lost = '', best, worst, spread, apart FROM episodes"
        with self.connect() as db:
            rows = db.execute(f"{figures} WHERE round = ? ORDER BY row DESC", (round_,))
            return {key: Measured(*rest) for key, *rest in rows if key is not None}


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    wanted: list[str] = []
    values: list[object] = []
    if words := _match(query.text):
        wanted.append("row IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(words)
    plain = (("round = ?", query.round), ("lost = ?", query.lost or None), ("spread >= ?", query.min_spread))
    for condition, value in plain:
        if value is not None:
            wanted.append(condition)
            values.append(value)
    if query.document:
        wanted.append("row IN (SELECT row FROM episodes WHERE instr(document, ?))")
        values.append(query.document)
    for given, conditions in ((query.kept, _KEPT), (query.labelled, _LABELLED)):
        if given in conditions:
            wanted.append(conditions[given])
    if query.queue in QUEUES:
        wanted.append(QUEUES[query.queue].where)
    return wanted, values


_KEPT: Final = {"kept": "lost = ''", "dropped": "lost != ''"}
_LABELLED: Final = {"yes": "labels > 0", "no": "labels = 0"}


def _match(text: str) -> str:
    """Return the search expression for a typed text: every word must be there, the last one may go on."""
    words = [word.replace('"', '""') for word in text.replace("\0", " ").split()]
    return " ".join(f'"{word}"' for word in words[:-1]) + f' "{words[-1]}"*' if words else ""


def put(db: sqlite3.Connection, row: int, entry: Entry, words: Sequence[str]) -> None:
    """Put an episode into the index, instead of what it was before it was played again; `words` are those to search."""
    for before in db.execute("SELECT row FROM episodes WHERE id = ?", (entry.id,)).fetchall():
        db.execute("DELETE FROM episodes WHERE row = ?", before)
        db.execute("DELETE FROM words WHERE rowid = ?", before)
    said = derive_seed("problem", *words[0].split()) >> 1 if words[0] else None  # columns are signed
    values = {**entry._asdict(), "row": row, "draw": derive_seed("label", entry.id) >> 1, "said": said}
    del values["problem"]  # it is among the words
    db.execute(f"INSERT INTO episodes ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()])
    db.execute("INSERT INTO words (rowid, problem, reference, rubric, chosen, rejected) VALUES (?,?,?,?,?,?)", [row, *words])


def clear(db: sqlite3.Connection) -> None:
    """Forget all episodes, and what was worked out over them."""
    db.execute("DELETE FROM episodes")
    db.execute("DELETE FROM words")
    db.execute("DELETE FROM meta WHERE key IN ('repeats', 'labels')")


def mark_repeats(db: sqlite3.Connection, session: Session) -> None:
    """Mark the pairs that are not to be because their problem nearly repeats another, once for each number of episodes."""
    if not _changed(db, "repeats", _count(db)):
        return
    with contextlib.closing(Summaries(session, keep=session.journal.tally.episodes.total() >= WORTH_KEEPING)) as summaries:
        gone = [(_REPEAT, id_) for _, ids in repeated(session, summaries.read()) for id_ in ids]
    db.execute("UPDATE episodes SET lost = '' WHERE lost = ?", (_REPEAT,))
    db.executemany("UPDATE episodes SET lost = ? WHERE id = ?", gone)


def count_labels(db: sqlite3.Connection, run: Path) -> None:
    """Count the labels of each episode, where the file or the episodes have grown since."""
    file = run / labels.FILE
    size = file.stat().st_size if file.is_file() else 0
    if not _changed(db, "labels", f"{size} bytes, {_count(db)} episodes"):
        return
    counts = Counter(label.episode for label in labels.read(run))
    db.execute("UPDATE episodes SET labels = 0 WHERE labels > 0")
    db.executemany("UPDATE episodes SET labels = ? WHERE id = ?", [(count, id_) for id_, count in counts.items()])


def _count(db: sqlite3.Connection) -> str:
    """Return what changes with every episode that comes, also instead of another."""
    return "{} up to {}".format(*db.execute("SELECT count(*), max(row) FROM episodes").fetchone())


def _changed(db: sqlite3.Connection, key: str, now: str) -> bool:
    """Tell whether what is noted under `key` differs from `now`, which is noted then."""
    if db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone() == (now,):
        return False
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, now))
    return True
