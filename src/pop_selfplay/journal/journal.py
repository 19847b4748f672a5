"""The journal: every finished model call and every finished episode, one durable SQLite row each.

A call is stored the moment it returns, under the key of what it was for, together with a digest of the exact request. A resumed
run plays its unfinished episodes again from the start, but every call that is in the journal under the same key and digest is
answered from there, so `kill -9` loses calls in flight and nothing else. Finished episodes are not played again at all.

A forked run begins with the calls of another one as its inheritance. Such a call is the run's own, and counted, from the moment
that the run makes the very same request and so takes it over; what it never asks for again stays behind.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pop_selfplay.journal.files import damaged
from pop_selfplay.journal.schema import (
    CALL_COLUMNS,
    INHERIT_CALL,
    INHERITED_COLUMNS,
    STORE_CALL,
    CallKey,
    Database,
    Played,
    StoredCall,
    call_row,
    column,
    connect,
    connect_to_read,
    decode_tokens,
)
from pop_selfplay.journal.tally import Spent, Tally
from pop_selfplay.method.parsing import Rejection, parse_answer
from pop_selfplay.records import Candidate, Completion, Document, Episode, Role

INHERITED: Final = "inherited"
"""The reason of a call that a forked run found in its inheritance: it has to be parsed, and recorded, by this run."""

_EPISODES_AT_ONCE: Final = 1000
_SPENT: Final = "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(generated_tokens), 0)"
_CALL: Final = "episode = ? AND role = ? AND item = ? AND attempt = ?"


class Journal(Database):
    """Open with `open` or `open_to_read`; use from one thread; close with `close()` or a with statement.

    Every method raises JournalError when the file cannot be read or written, by the kinds that `files.explain` tells apart.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path)
        try:
            self._completion = (
                f"text, finish_reason, prompt_tokens, generated_tokens, cached_tokens, {column(connection, 'probabilities')}"
            )
            self._inherits = self._one("SELECT 1 FROM inherited_calls LIMIT 1") is not None
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open the journal at `path`, or make it. Raises JournalError when it cannot be read or has another schema."""
        return cls(connect(path), path)

    @classmethod
    def open_to_read(cls, path: Path) -> "Journal":
        """Open the journal at `path` without changing anything, beside whoever writes it; one not yet made reads as empty."""
        return cls(connect_to_read(path), path)

    # --- notes --------------------------------------------------------------------------------------------------------

    def note(self, key: str, value: str) -> None:
        """Remember `value` under `key`, replacing an earlier one."""
        self._write("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def noted(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    def forget_notes(self, prefix: str) -> None:
        """Forget all notes whose key begins with `prefix`."""
        self._write("DELETE FROM meta WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))

    def noted_under(self, prefix: str) -> dict[str, str]:
        """Return all notes whose key begins with `prefix`, by the rest of the key."""
        rows = self._rows("SELECT key, value FROM meta WHERE substr(key, 1, ?) = ? ORDER BY key", len(prefix), prefix)
        return {str(key)[len(prefix) :]: str(value) for key, value in rows}

    @property
    def run_id(self) -> str:
        """What tells this run from every other one, wherever its directory moves. A fork gets one of its own."""
        return str(self.noted("run_id"))

    @property
    def begun(self) -> bool:
        """Whether the run has any calls of its own, which belong to its config. Documents alone can be chosen anew."""
        return any(self._one(f"SELECT 1 FROM {table} LIMIT 1") for table in ("calls", "episodes"))

    # --- documents ----------------------------------------------------------------------------------------------------

    def store_documents(
        self, rounds: Sequence[Sequence[Document]], drops: dict[str, int], starts: Sequence[int] | None = None
    ) -> None:
        """Fix the documents of all rounds, all or none; `rounds[0]` are the held-out ones. `drops` count for round 1.

        Of a part of the documents, `starts` says for each round at which place of the choice it begins.
        """
        rows = (
            (round_, n, document.id, document.model_dump_json())
            for round_, (documents, start) in enumerate(zip(rounds, starts or [0] * len(rounds), strict=True))
            for n, document in enumerate(documents, start)
        )
        with self._transaction():
            self._db.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", rows)
            self._db.executemany("INSERT INTO corpus_drops VALUES (?, ?, ?)", [(1, *drop) for drop in drops.items()])

    def forget_documents(self) -> None:
        """Forget what was chosen, and who was to play, before any model has answered."""
        with self._transaction():
            for forgotten in ("documents", "corpus_drops", "meta WHERE key LIKE 'lineage/%'", "meta WHERE key = 'shard'"):
                self._db.execute(f"DELETE FROM {forgotten}")

    def documents(self, round_: int) -> list[Document]:
        """Return the documents of a round in their chosen order; empty when none were stored yet."""
        rows = self._rows("SELECT record FROM documents WHERE round = ? ORDER BY position", round_)
        return [self._parsed(Document, record) for (record,) in rows]

    def document_ids(self, round_: int) -> list[str]:
        """Return the ids of a round's documents in their chosen order, without reading the documents."""
        return [id_ for (id_,) in self._rows("SELECT id FROM documents WHERE round = ? ORDER BY position", round_)]

    def document(self, round_: int, id_: str) -> Document:
        """Return one document of a round."""
        row = self._one("SELECT record FROM documents WHERE round = ? AND id = ?", round_, id_)
        if row is None:
            raise damaged(self._path, f"document {id_} of round {round_} is missing")
        return self._parsed(Document, row[0])

    def corpus_drops(self, round_: int) -> dict[str, int]:
        return dict(self._rows("SELECT reason, count FROM corpus_drops WHERE round = ? ORDER BY reason", round_))

    # --- calls --------------------------------------------------------------------------------------------------------

    def find_call(self, key: CallKey) -> StoredCall | None:
        """Return the finished call under `key`, of this run or else, with reason INHERITED, of its inheritance."""
        row = self._one(f"SELECT digest, reason, {self._completion} FROM calls WHERE {_CALL}", *key[1:])
        if row is None and self._inherits:
            row = self._one(f"SELECT digest, '{INHERITED}', {self._completion} FROM inherited_calls WHERE {_CALL}", *key[1:])
        if row is None:
            return None
        digest, reason, text, finish_reason, prompt, generated, cached, probabilities = row
        try:
            tokens = decode_tokens(probabilities)
            return StoredCall(digest, reason, Completion(text, finish_reason, prompt, generated, cached, tokens))
        except ValueError as error:
            raise damaged(self._path, f"the probabilities of a call of {key.episode} do not parse ({error})") from error

    def calls(self, episode: str) -> list[tuple[CallKey, StoredCall]]:
        """Return all finished calls of one episode, by role, item and attempt."""
        names = "round, role, item, attempt, digest, reason"
        found = []
        for round_, role, item, attempt, digest, reason, *rest in self._rows(
            f"SELECT {names}, {self._completion} FROM calls WHERE episode = ? ORDER BY role, item, attempt", episode
        ):
            text, finish_reason, prompt, generated, cached, probabilities = rest
            done = Completion(text, finish_reason, prompt, generated, cached, decode_tokens(probabilities))
            found.append((CallKey(round_, episode, role, item, attempt), StoredCall(digest, reason, done)))
        return found

    def record_call(self, key: CallKey, call: StoredCall) -> None:
        """Store a finished call; it survives a kill from the moment this returns."""
        self._write(STORE_CALL, call_row(key, call))

    def record_calls(self, calls: Iterable[tuple[CallKey, StoredCall]]) -> None:
        """Store finished calls that belong together, all or none."""
        with self._transaction():
            self._db.executemany(STORE_CALL, [call_row(key, call) for key, call in calls])

    def inherit(self, calls: Iterable[tuple[Any, ...]]) -> None:
        """Add `calls`, rows in the order of INHERITED_COLUMNS, to the inheritance. Calls of this run stay as they are."""
        with self._transaction():
            self._db.executemany(INHERIT_CALL, calls)
        self._inherits = True

    def inherited(self, episode: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the inherited calls that this run has not needed so far, of one episode or of all."""
        of_one, ids = ("", ()) if episode is None else (" WHERE episode = ?", (episode,))
        yield from self._rows(f"SELECT {INHERITED_COLUMNS} FROM inherited_calls{of_one}", *ids)

    # --- episodes -----------------------------------------------------------------------------------------------------

    def record_episode(self, episode: Episode) -> None:
        """Store a finished episode, once. Completions stay in their call rows and are not stored twice."""
        lean = episode.model_copy(
            update={"candidates": tuple(c.model_copy(update={"completion": "", "answer": ""}) for c in episode.candidates)}
        )
        failure = episode.failure
        stage, reason = (failure.stage, failure.reason) if failure else ("", "")
        self._write(
            "INSERT INTO episodes VALUES (?, ?, ?, ?, ?)", (episode.id, episode.round, stage, reason, lean.model_dump_json())
        )

    def forget_episodes(self, reason: str, round_: int | None = None) -> frozenset[str]:
        """Make the episodes that ended for `reason`, of one round or of all, unfinished again, and return their ids."""
        ended = "reason = ? AND round = ifnull(?, round)"
        with self._transaction():
            ids = frozenset(id_ for (id_,) in self._rows(f"SELECT id FROM episodes WHERE {ended}", reason, round_))
            if ids:
                self._db.execute(f"DELETE FROM episodes WHERE {ended}", (reason, round_))
        return ids

    def finished_since(self, row: int, most: int) -> list[tuple[int, int, str]]:
        """Return (row, round, id) of `most` episodes at most that were finished after the one in `row`, oldest first."""
        page = "SELECT rowid, round, id FROM episodes WHERE rowid > ? ORDER BY rowid LIMIT ?"
        return [(row, round_, id_) for row, round_, id_ in self._rows(page, row, most)]

    def tokens_under(self, prefix: str) -> list[tuple[int, str, int, int, int]]:
        """Return (round, role, prompt, cached, generated) tokens of the calls whose episode begins with `prefix`, in ASCII."""
        sums = "sum(prompt_tokens), sum(cached_tokens), sum(generated_tokens)"
        asked = f"SELECT round, role, {sums} FROM calls WHERE episode >= ? AND episode < ? GROUP BY round, role"
        return [(r, role, p, c, g) for r, role, p, c, g in self._rows(asked, prefix, f"{prefix}\x7f")]

    def round_of(self, id_: str) -> int | None:
        """Return the round of a finished episode, None where there is none of this id."""
        row = self._one("SELECT round FROM episodes WHERE id = ?", id_)
        return None if row is None else int(row[0])

    def finished_episodes(self, round_: int) -> set[str]:
        """Return the ids of all episodes of a round that need no more work, scored or failed."""
        return {id_ for (id_,) in self._rows("SELECT id FROM episodes WHERE round = ?", round_)}

    def episodes(self, round_: int) -> Iterator[Episode]:
        """Yield the finished episodes of a round in the order of their ids, with their completions.

        A thousand ids at a time and one episode at a time are in memory, and no read transaction stays open in between.
        """
        page, last = "SELECT id FROM episodes WHERE round = ? AND id > ? ORDER BY id LIMIT ?", ""
        while ids := list(self._rows(page, round_, last, _EPISODES_AT_ONCE)):
            for (last,) in ids:
                yield self.episode(round_, last)

    def episode(self, round_: int, id_: str) -> Episode:
        """Return one finished episode of a round, with its completions."""
        row = self._one("SELECT record FROM episodes WHERE round = ? AND id = ?", round_, id_)
        if row is None:
            raise damaged(self._path, f"episode {id_} is missing")
        episode = self._parsed(Episode, row[0])
        return episode.model_copy(update={"candidates": self._candidates(episode)})

    def _candidates(self, episode: Episode) -> tuple[Candidate, ...]:
        if not episode.candidates:
            return ()
        solved = (
            "SELECT item, text FROM calls WHERE episode = ? AND role = 'solver' AND reason IN ('', 'repaired')"
            " ORDER BY attempt DESC"  # of several, which only a change of the parser can leave, the first was taken
        )
        texts = {item: str(text) for item, text in self._rows(solved, episode.id)}
        found = []
        for candidate in episode.candidates:
            text = texts.get(str(candidate.index), "")
            answer = parse_answer(text, tagged=False)  # only what was parsed has no reason; how strictly is no matter now
            if isinstance(answer, Rejection):
                raise damaged(self._path, f"candidate {candidate.index} of episode {episode.id} is missing")
            found.append(Candidate(index=candidate.index, completion=text, answer=answer.value))
        return tuple(found)

    def proposal(self, id_: str) -> str:
        """Return the whole completion in which the proposer wrote the problem of episode `id_`."""
        accepted = list(self.accepted(id_, Role.PROPOSER))
        if not accepted:
            raise damaged(self._path, f"the proposer's completion of episode {id_} is missing")
        return accepted[0]

    def accepted(self, id_: str, role: Role) -> Iterator[str]:
        """Yield the completions of episode `id_` in which `role` was understood."""
        understood = (
            "SELECT text FROM calls WHERE episode = ? AND role = ? AND reason IN ('', 'repaired') ORDER BY item, attempt"
        )
        for (text,) in self._rows(understood, id_, role.value):
            yield str(text)

    # --- from one journal to another ------------------------------------------------------------------------------------

    def played(self, after: int = 0) -> Iterator[tuple[int, Played]]:
        """Yield the number and content of every finished episode whose number is above `after`, the first stored first."""
        finished = "SELECT rowid, id, round, stage, reason, record FROM episodes WHERE rowid > ? ORDER BY rowid"
        for number, id_, round_, stage, reason, record in self._rows(finished, after):
            yield number, Played(id_, round_, stage, reason, record, self.calls_of(id_))

    def begun_episodes(self) -> Iterator[Played]:
        """Yield what has calls but is no finished episode, without a record: an episode that was cut short, mostly."""
        begun = "SELECT DISTINCT episode, round FROM calls WHERE episode NOT IN (SELECT id FROM episodes)"
        yield from (Played(id_, round_, "", "", "", self.calls_of(id_)) for id_, round_ in self._rows(begun))

    def calls_of(self, episode: str) -> tuple[tuple[str | int, ...], ...]:
        return tuple(self._rows(f"SELECT {CALL_COLUMNS} FROM calls WHERE episode = ?", episode))

    def take_in(self, played: Iterable[Played], note: str = "") -> None:
        """Store episodes of another journal, all or none, and that `note` was taken in; what is finished here stays."""
        with self._transaction():
            for one in played:
                if self._one("SELECT 1 FROM episodes WHERE id = ?", one.id) is None:
                    self._db.executemany(STORE_CALL, one.calls)
                    if one.record:
                        self._db.execute("INSERT INTO episodes VALUES (?, ?, ?, ?, ?)", one[:5])
            if note:
                self.note(note, "taken in")

    # --- counts -------------------------------------------------------------------------------------------------------

    @property
    def tally(self) -> Tally:
        """The counts of this moment. Reading them takes as long for a hundred thousand episodes as for one."""
        tally = Tally()
        for row in self._rows("SELECT * FROM call_counts WHERE calls > 0"):
            tally.add_calls(*row)
        for round_, stage, reason, count in self._rows("SELECT * FROM episode_counts WHERE episodes > 0"):
            tally.episodes[round_, stage, reason] = count
        return tally

    def spent(self, episode: str, role: str) -> Spent:
        """Return what the calls of one role in one episode took, refused ones included."""
        row = self._one(f"SELECT {_SPENT} FROM calls WHERE episode = ? AND role = ?", episode, role)
        return Spent(*(row or (0, 0, 0, 0)))

    def spent_by_episode(self, round_: int) -> dict[str, dict[str, Spent]]:
        """Return episode → role → what its calls took, of all calls of a round. Reads every call's row, but not its text."""
        found: dict[str, dict[str, Spent]] = {}
        for episode, role, *counts in self._rows(
            f"SELECT episode, role, {_SPENT} FROM calls WHERE round = ? GROUP BY episode, role", round_
        ):
            found.setdefault(episode, {})[role] = Spent(*counts)
        return found
