"""The journal: every finished model call and every finished episode, one durable SQLite row each.

A call is stored the moment it returns, under the key of what it was for, together with a digest of the exact request. A resumed
run plays its unfinished episodes again from the start, but every call that is in the journal under the same key and digest is
answered from there, so `kill -9` loses calls in flight and nothing else. Finished episodes are not played again at all.

WAL with synchronous=NORMAL: a killed process loses nothing; a power cut may lose the last moments but never corrupts.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from pop_selfplay.core.parsing import Rejection, parse_answer
from pop_selfplay.errors import JournalError
from pop_selfplay.journal.tally import Tally
from pop_selfplay.records import Candidate, Completion, Document, Episode

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    round INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (round, position)
) WITHOUT ROWID;
CREATE TABLE corpus_drops (
    round INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (round, reason)
) WITHOUT ROWID;
CREATE TABLE calls (
    episode TEXT NOT NULL, role TEXT NOT NULL, item TEXT NOT NULL, attempt INTEGER NOT NULL, round INTEGER NOT NULL,
    digest TEXT NOT NULL, reason TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL,
    PRIMARY KEY (episode, role, item, attempt)
);
CREATE TABLE episodes (
    id TEXT PRIMARY KEY, round INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX episodes_by_round ON episodes (round, id);
"""


class CallKey(NamedTuple):
    """What a call was for: role and item within an episode, and the how-manieth attempt (from 0)."""

    round: int
    episode: str
    role: str
    item: str
    attempt: int


class StoredCall(NamedTuple):
    """A finished call. `reason` is why its text was refused, "" where it parsed, "repaired" where its JSON was mended."""

    digest: str
    reason: str
    completion: Completion


class Journal:
    """Open with `Journal.open(path)`; use from one thread; close with `close()` or a with statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.tally = self._load_tally()

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open the journal at `path`, or make it. Raises JournalError when it cannot be read or has another schema."""
        try:
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                raise JournalError(
                    f"{path} has schema {version}, this version reads {SCHEMA_VERSION}: use the version that made it"
                )
            return cls(db)
        except sqlite3.Error as error:
            raise JournalError(f"cannot open the journal {path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise JournalError(f"cannot write to the journal ({error}); what was written before is safe") from error

    # --- notes --------------------------------------------------------------------------------------------------------

    def note(self, key: str, value: str) -> None:
        """Remember `value` under `key`, replacing an earlier one."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def noted(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    # --- documents ----------------------------------------------------------------------------------------------------

    def store_documents(self, rounds: Sequence[Sequence[Document]], drops: dict[str, int]) -> None:
        """Fix the documents of all rounds, all or none; `rounds[0]` are the held-out ones. `drops` count for round 1."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (
                    (round_, n, document.id, document.model_dump_json())
                    for round_, documents in enumerate(rounds)
                    for n, document in enumerate(documents)
                ),
            )
            self._db.executemany("INSERT OR REPLACE INTO corpus_drops VALUES (?, ?, ?)", [(1, *drop) for drop in drops.items()])
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.execute("ROLLBACK")
            raise JournalError(f"cannot write documents to the journal: {error}") from error

    def documents(self, round_: int) -> list[Document]:
        """Return the documents of a round in their chosen order; empty when none were stored yet."""
        rows = self._db.execute("SELECT record FROM documents WHERE round = ? ORDER BY position", (round_,))
        return [Document.model_validate_json(record) for (record,) in rows]

    def corpus_drops(self, round_: int) -> dict[str, int]:
        rows = self._db.execute("SELECT reason, count FROM corpus_drops WHERE round = ? ORDER BY reason", (round_,))
        return dict(rows.fetchall())

    # --- calls --------------------------------------------------------------------------------------------------------

    def find_call(self, key: CallKey) -> StoredCall | None:
        row = self._db.execute(
            "SELECT digest, reason, text, finish_reason, prompt_tokens, generated_tokens, cached_tokens"
            " FROM calls WHERE episode = ? AND role = ? AND item = ? AND attempt = ?",
            (key.episode, key.role, key.item, key.attempt),
        ).fetchone()
        return None if row is None else StoredCall(row[0], row[1], Completion(*row[2:]))

    def record_call(self, key: CallKey, call: StoredCall) -> None:
        """Store a finished call; it survives a kill from the moment this returns."""
        done = call.completion
        self._write(
            "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key.episode, key.role, key.item, key.attempt, key.round, call.digest, call.reason),
                *(done.text, done.finish_reason, done.prompt_tokens, done.cached_tokens, done.generated_tokens),
            ),
        )
        self.tally.add_call(key.round, key.role, call.reason, done.prompt_tokens, done.cached_tokens, done.generated_tokens)

    # --- episodes -----------------------------------------------------------------------------------------------------

    def record_episode(self, episode: Episode) -> None:
        """Store a finished episode. Completions stay in their call rows and are not stored twice."""
        lean = episode.model_copy(
            update={"candidates": tuple(c.model_copy(update={"completion": "", "answer": ""}) for c in episode.candidates)}
        )
        failure = episode.failure
        stage, reason = (failure.stage, failure.reason) if failure else ("", "")
        self._write(
            "INSERT OR REPLACE INTO episodes VALUES (?, ?, ?, ?, ?)",
            (episode.id, episode.round, stage, reason, lean.model_dump_json()),
        )
        self.tally.episodes[episode.round, stage, reason] += 1

    def finished_episodes(self, round_: int) -> set[str]:
        """Return the ids of all episodes of a round that need no more work, scored or failed."""
        return {id_ for (id_,) in self._db.execute("SELECT id FROM episodes WHERE round = ?", (round_,))}

    def episodes(self, round_: int) -> Iterator[Episode]:
        """Yield the finished episodes of a round in the order of their ids, with their completions."""
        with closing(self._db.execute("SELECT record FROM episodes WHERE round = ? ORDER BY id", (round_,))) as rows:
            for (record,) in rows:
                try:
                    episode = Episode.model_validate_json(record)
                except ValidationError as error:
                    raise JournalError(f"the journal holds a damaged episode: {error}") from error
                yield episode.model_copy(update={"candidates": self._candidates(episode)})

    def _candidates(self, episode: Episode) -> tuple[Candidate, ...]:
        if not episode.candidates:
            return ()
        rows = self._db.execute(
            "SELECT item, text FROM calls WHERE episode = ? AND role = 'solver' AND reason = '' ORDER BY attempt",
            (episode.id,),
        )
        texts = {int(item): str(text) for item, text in rows}
        found = []
        for candidate in episode.candidates:
            answer = parse_answer(texts.get(candidate.index, ""))
            if isinstance(answer, Rejection):
                raise JournalError(f"candidate {candidate.index} of episode {episode.id} is missing from the journal")
            found.append(Candidate(index=candidate.index, completion=texts[candidate.index], answer=answer.value))
        return tuple(found)

    def _load_tally(self) -> Tally:
        tally = Tally()
        for round_, role, reason, count, prompt, cached, generated in self._db.execute(
            "SELECT round, role, reason, count(*), sum(prompt_tokens), sum(cached_tokens), sum(generated_tokens)"
            " FROM calls GROUP BY round, role, reason"
        ):
            tally.add_call(round_, role, reason, prompt, cached, generated)
            tally.calls[round_, role, reason] += count - 1
        for round_, stage, reason, count in self._db.execute(
            "SELECT round, stage, reason, count(*) FROM episodes GROUP BY round, stage, reason"
        ):
            tally.episodes[round_, stage, reason] += count
        return tally
