"""The tables of a journal, and how its file is opened: to write by the one process that works on the run, to read by anybody.

WAL with synchronous=NORMAL: a killed process loses nothing; a power cut may lose the last half minute but never corrupts.
Counts are kept by triggers, in the very transaction of the row they count, so that they are exact after any kill and opening a
journal of millions of calls sums up nothing.

A model call in the journal: what it was for, what came of it, and its row.

The tokens of a call whose probabilities were asked for are one text in its row, a JSON list with an entry for each token: its
text alone, or [text, alternative, log-probability, alternative, …].
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from pop_selfplay.errors import JournalError
from pop_selfplay.journal.files import explain, unparsed
from pop_selfplay.records import Completion, Document, Episode, Token

R = TypeVar("R", Document, Episode)

SCHEMA_VERSION: Final = 3
READABLE: Final = (2, SCHEMA_VERSION)
"""Schemas that are read as they are. To write, an older journal is brought up to date when it is opened."""

BUSY_SECONDS: Final = 10.0
"""How long to wait for another program that holds the journal locked."""

_PAGES_BEFORE_CHECKPOINT: Final = 8192
"""32 MB of log: the disk is waited for only then, so that a thousand calls a second cost next to nothing."""

_ADD: Final = """
    INSERT INTO call_counts VALUES
        (new.round, new.role, new.reason, 1, new.prompt_tokens, new.cached_tokens, new.generated_tokens)
    ON CONFLICT DO UPDATE SET calls = calls + 1, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens, generated_tokens = generated_tokens + excluded.generated_tokens;
"""
_SCHEMA: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    round INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL
);
CREATE UNIQUE INDEX documents_in_order ON documents (round, position, id);
CREATE UNIQUE INDEX documents_by_id ON documents (round, id);
CREATE TABLE corpus_drops (
    round INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (round, reason)
);
CREATE TABLE calls (
    episode TEXT NOT NULL, role TEXT NOT NULL, item TEXT NOT NULL, attempt INTEGER NOT NULL, round INTEGER NOT NULL,
    digest TEXT NOT NULL, reason TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL,
    probabilities TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (episode, role, item, attempt)
);
CREATE TABLE episodes (
    id TEXT PRIMARY KEY, round INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX episodes_by_round ON episodes (round, id);
CREATE TABLE inherited_calls (
    episode TEXT NOT NULL, role TEXT NOT NULL, item TEXT NOT NULL, attempt INTEGER NOT NULL,
    digest TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL,
    probabilities TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (episode, role, item, attempt)
);
CREATE TABLE call_counts (
    round INTEGER NOT NULL, role TEXT NOT NULL, reason TEXT NOT NULL, calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL,
    PRIMARY KEY (round, role, reason)
) WITHOUT ROWID;
CREATE TABLE episode_counts (
    round INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, episodes INTEGER NOT NULL,
    PRIMARY KEY (round, stage, reason)
) WITHOUT ROWID;
CREATE TRIGGER call_added AFTER INSERT ON calls BEGIN
    {_ADD}
    DELETE FROM inherited_calls
    WHERE episode = new.episode AND role = new.role AND item = new.item AND attempt = new.attempt;
END;
CREATE TRIGGER call_replaced AFTER UPDATE ON calls BEGIN
    UPDATE call_counts SET calls = calls - 1, prompt_tokens = prompt_tokens - old.prompt_tokens,
        cached_tokens = cached_tokens - old.cached_tokens, generated_tokens = generated_tokens - old.generated_tokens
    WHERE round = old.round AND role = old.role AND reason = old.reason;
    {_ADD}
END;
CREATE TRIGGER episode_added AFTER INSERT ON episodes BEGIN
    INSERT INTO episode_counts VALUES (new.round, new.stage, new.reason, 1)
    ON CONFLICT DO UPDATE SET episodes = episodes + 1;
END;
CREATE TRIGGER episode_removed AFTER DELETE ON episodes BEGIN
    UPDATE episode_counts SET episodes = episodes - 1
    WHERE round = old.round AND stage = old.stage AND reason = old.reason;
END;
INSERT INTO meta VALUES ('run_id', lower(hex(randomblob(8))));
"""
_FROM_2: Final = tuple(
    f"ALTER TABLE {table} ADD COLUMN probabilities TEXT NOT NULL DEFAULT ''" for table in ("calls", "inherited_calls")
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal at `path` to read and write, or make it. Raises JournalError when that cannot be."""
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint={_PAGES_BEFORE_CHECKPOINT}")
            if _version(db) == 0:
                _refuse_foreign(db, path)
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            if _version(db) == 2:
                _bring_up_to_date(db)
            _check_version(db, path, SCHEMA_VERSION)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, path, "open") from error
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the journal at `path` without ever changing a byte of it, on a read-only disk or beside the process that writes.

    A journal that is not there yet, or was only just made, reads as an empty one. Raises JournalError when it cannot be read.
    """
    try:
        if not path.exists():
            return connect(Path(":memory:"))
        db = _open_read_only(path)
        try:
            if _version(db) == 0:
                _refuse_foreign(db, path)
                db.close()
                return connect(Path(":memory:"))
            _check_version(db, path, *READABLE)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, path, "read") from error
    return db


def _refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    """Raise JournalError where a database without our version holds tables: it is not ours to write into."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 3")]
    if tables and _version(db) == 0:  # asked again: a run may have made its journal since
        raise JournalError(f"{path} is a database of another program, with {', '.join(tables)}: move it to another place")


def _open_read_only(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    log = path.with_name(f"{path.name}-wal")
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        _version(db)
    except sqlite3.DatabaseError as error:
        db.close()
        if not isinstance(error, sqlite3.OperationalError) or (log.exists() and log.stat().st_size > 0):
            raise
        # SQLite wants its two side files even to read; where they cannot be made nobody writes, and the file alone is whole.
        db = sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def column(db: sqlite3.Connection, name: str) -> str:
    """Return the SQL for the column `name` of a call: itself, or what stands for it in a journal from before there was one."""
    return "''" if name == "probabilities" and _version(db) == 2 else name


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """Add what a journal of schema 2 lacks. Nothing that it holds changes: no call of that time had probabilities."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db) == 2:  # still, now that nobody else can write
            for statement in (*_FROM_2, f"PRAGMA user_version={SCHEMA_VERSION}"):
                db.execute(statement)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _check_version(db: sqlite3.Connection, path: Path, *known: int) -> None:
    version = _version(db)
    if version not in known:
        raise JournalError(f"{path} has schema {version}, this pop reads {SCHEMA_VERSION}: use the version that made it")


CALL_COLUMNS: Final = (
    "episode, role, item, attempt, round, digest, reason, text, finish_reason, prompt_tokens, cached_tokens, generated_tokens,"
    " probabilities"
)
INHERITED_COLUMNS: Final = (
    "episode, role, item, attempt, digest, text, finish_reason, prompt_tokens, cached_tokens, generated_tokens, probabilities"
)


def _marks(columns: str) -> str:
    return ", ".join("?" for _ in columns.split(","))


INHERIT_CALL: Final = f"INSERT OR IGNORE INTO inherited_calls ({INHERITED_COLUMNS}) VALUES ({_marks(INHERITED_COLUMNS)})"
STORE_CALL: Final = (
    f"INSERT INTO calls ({CALL_COLUMNS}) VALUES ({_marks(CALL_COLUMNS)}) ON CONFLICT DO UPDATE SET"
    " round = excluded.round, digest = excluded.digest, reason = excluded.reason, text = excluded.text,"
    " finish_reason = excluded.finish_reason, prompt_tokens = excluded.prompt_tokens,"
    " cached_tokens = excluded.cached_tokens, generated_tokens = excluded.generated_tokens,"
    " probabilities = excluded.probabilities"
)


class CallKey(NamedTuple):
    """What a call was for: role and item within an episode, and the how-manieth attempt (from 0)."""

    round: int
    episode: str
    role: str
    item: str
    attempt: int


class StoredCall(NamedTuple):
    """A finished call. `reason` is why its text was refused, "" where it parsed, "repaired" where its form was mended."""

    digest: str
    reason: str
    completion: Completion


class Played(NamedTuple):
    """An episode with all of its calls, as another journal can take it in.

    `record` is "" where the episode is not finished. Calls are rows in the order of CALL_COLUMNS.
    """

    id: str
    round: int
    stage: str
    reason: str
    record: str
    calls: tuple[tuple[str | int, ...], ...]


def call_row(key: CallKey, call: StoredCall) -> tuple[object, ...]:
    done = call.completion
    return (
        *(key.episode, key.role, key.item, key.attempt, key.round, call.digest, call.reason),
        *(done.text, done.finish_reason, done.prompt_tokens, done.cached_tokens, done.generated_tokens),
        encode_tokens(done.tokens),
    )


def encode_tokens(tokens: Sequence[Token]) -> str:
    """Return `tokens` as text; `decode_tokens` gives them back exactly."""
    if not tokens:
        return ""
    entries = [[t.text, *(part for pair in t.alternatives for part in pair)] if t.alternatives else t.text for t in tokens]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


def decode_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens of a call. Raises ValueError when `text` is not what `encode_tokens` writes."""
    if not text:
        return ()
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError(f"expected a list, got {text[:40]!r}")
    return tuple(_token(entry) for entry in entries)


def _token(entry: Any) -> Token:
    head, *rest = entry if isinstance(entry, list) and entry else [entry]
    others, logprobs = rest[::2], rest[1::2]
    if not isinstance(head, str) or len(others) != len(logprobs):
        raise ValueError(f"{entry!r:.80} is no token")
    if not all(isinstance(other, str) for other in others) or not all(isinstance(p, float) for p in logprobs):
        raise ValueError(f"{entry!r:.80} is no token with alternatives")
    return Token(head, tuple(zip(others, logprobs, strict=True)))


class Database:
    """An open SQLite file. What goes wrong with it is raised in words, as a JournalError (`files.explain`)."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = connection, path

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise explain(error, self._path, "read") from error
        return row

    def _rows(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            with closing(self._db.execute(statement, values)) as rows:
                yield from rows
        except sqlite3.Error as error:
            raise explain(error, self._path, "read") from error

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise explain(error, self._path, "write") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # an error, or an interrupt
                    self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise explain(error, self._path, "write") from error

    def _parsed(self, record: type[R], text: str) -> R:
        try:
            return record.model_validate_json(text)
        except ValidationError as error:
            raise unparsed(self._path, f"a {record.__name__.lower()} in it", error) from error
