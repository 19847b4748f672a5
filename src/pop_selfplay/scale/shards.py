"""A shard of a run, and the one run that all shards together are.

    pop synth CONFIG --shard 2/8 --out DIR    plays the second eighth of the documents of round 1, on any machine
    pop merge DIR… --out RUN                  makes one run of the directories

The documents of every round are chosen by hash, so each machine finds the same choice by itself; a shard is a range of it. Its
directory is that of an ordinary run, for `pop status` and to resume, but for the note SHARD. The merged run holds what a run on
one machine would: documents at their places, every call and every finished episode once, who played, and what it took. An
episode that a shard has not finished is played when the merged run is resumed, with the calls that the shard made for it.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final

from pop_selfplay.errors import JournalError, UsageError
from pop_selfplay.journal import Journal
from pop_selfplay.journal.files import explain
from pop_selfplay.journal.notes import SECONDS, SHARD, PartOfRun
from pop_selfplay.journal.schema import Played
from pop_selfplay.records import Document, Shard
from pop_selfplay.runs.session import Session, open_session, watch_session

_AT_ONCE: Final = 256
"""Episodes of one transaction."""
_KEPT_NOTES: Final = ("lineage/", "broken/", "refusal/")
"""Notes that mean the same in the merged run. Seconds are added up: they are the hours of machines."""


def store_shard(journal: Journal, shard: Shard, rounds: Sequence[Sequence[Document]], dropped: dict[str, int]) -> None:
    """Fix the documents of a shard in the journal: its part of every round, and in shard 1 the held-out documents."""
    held_out = range(len(rounds[0]) if shard.number == 1 else 0)
    parts = [held_out, *(shard.part_of(len(documents)) for documents in rounds[1:])]
    mine = [documents[part.start : part.stop] for documents, part in zip(rounds, parts, strict=True)]
    journal.store_documents(mine, dropped, [part.start for part in parts])
    SHARD.write(journal, PartOfRun(shard, tuple(map(len, rounds)), _hash(rounds)))


def _hash(rounds: Sequence[Sequence[Document]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for documents in rounds:
        for document in documents:
            digest.update(document.model_dump_json().encode("utf-8") + b"\n")
        digest.update(b"\n")
    return digest.hexdigest()


def refuse_shard(session: Session) -> None:
    """Raise UsageError where the session's run is a shard: what follows synthesis needs all of them."""
    part, path = SHARD.read(session.journal), session.directory.path
    if part is not None:
        raise UsageError(
            f"{path} is shard {part.shard} of a run: `pop synth {path}` resumes it, and `pop merge` makes one run of all "
            f"{part.shard.shards} shards, which can be trained"
        )


def merge_shards(directories: Sequence[Path], out: Path) -> None:
    """Make the run directory `out` of all shards of one run, in any order.

    The directory gets its name when it is complete. Raises UsageError when the shards are not all there, or not of one run, or
    `out` exists; JournalError when a shard is being worked on, or cannot be read.
    """
    if out.exists():
        raise UsageError(f"{out} exists already: name a new directory for the merged run")
    with ExitStack() as opened:
        shards = [opened.enter_context(watch_session(path)) for path in directories]
        shards = _all_of_one_run(shards)
        unfinished = out.with_name(f".{out.name}.unfinished")
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            _merge(shards, unfinished)
            unfinished.rename(out)
        except OSError as error:
            raise explain(error, out, "write") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _all_of_one_run(shards: Sequence[Session]) -> list[Session]:
    """Return the shards in order. Raises what `merge_shards` says."""
    first: tuple[Session, PartOfRun] | None = None
    found: dict[int, Session] = {}
    for session in shards:
        path, part = session.directory.path, SHARD.read(session.journal)
        if session.directory.worked_on():
            raise JournalError(f"another process is working on {path}: wait for it or stop it")
        if part is None:
            raise UsageError(f"{path} is no shard: `pop synth CONFIG --shard 1/8 --out DIR` makes one")
        first = first or (session, part)
        _refuse_other_run(*first, session, part)
        if part.shard.number in found:
            raise UsageError(f"{path} and {found[part.shard.number].directory.path} are both shard {part.shard}")
        found[part.shard.number] = session
    if first is None:
        raise UsageError("there is nothing to merge: name the directories of all shards")
    count = first[1].shard.shards
    if missing := sorted(set(range(1, count + 1)) - set(found)):
        raise UsageError(f"shards are missing: {', '.join(f'{number}/{count}' for number in missing)}")
    return [found[number] for number in sorted(found)]


def _refuse_other_run(first: Session, part: PartOfRun, other: Session, of_other: PartOfRun) -> None:
    a, b = first.directory.path, other.directory.path
    if part.shard.shards != of_other.shard.shards:
        raise UsageError(
            f"{a} is one of {part.shard.shards} shards, {b} one of {of_other.shard.shards}: merge those of one run"
        )
    if not first.config.same_work(other.config) or first.domain != other.domain:
        raise UsageError(f"{a} and {b} have different configs or prompts: merge the shards of one run")
    if part[1:] != of_other[1:]:
        raise UsageError(f"{a} and {b} have chosen from different documents: every shard needs the same corpus")


def _merge(shards: Sequence[Session], out: Path) -> None:
    with open_session(out, shards[0].config) as session:
        journal = session.journal
        for number, shard in enumerate(shards):
            part = SHARD.read(shard.journal)
            assert part is not None  # _all_of_one_run has seen to it
            rounds = [shard.journal.documents(round_) for round_ in range(len(part.totals))]
            starts = [0, *(part.shard.part_of(total).start for total in part.totals[1:])]
            journal.store_documents(rounds, {} if number else shard.journal.corpus_drops(1), starts)
            for episodes in _batches(shard.journal):
                journal.take_in(episodes)
            for prefix in _KEPT_NOTES:
                for rest, note in shard.journal.noted_under(prefix).items():
                    journal.note(prefix + rest, note)
        spent = sum(sum(SECONDS.values(shard.journal)) for shard in shards)
        SECONDS.write(journal, spent, "1/synthesis")
        # The prompts that were played with, should the installed ones have changed since.
        session.directory.domain_path.write_bytes(shards[0].directory.domain_path.read_bytes())


def _batches(journal: Journal) -> Iterator[list[Played]]:
    for episodes in ((episode for _, episode in journal.played()), journal.begun_episodes()):
        while batch := list(islice(episodes, _AT_ONCE)):
            yield batch
