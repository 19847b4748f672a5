"""Shards: parts of a run that are played apart, what leaves them, and the one run that they all are.

    pop synth CONFIG --shard 2/8 --out DIR    plays the second eighth of the documents of round 1, on any machine
    pop merge DIR… --out RUN                  makes one run of the directories

The documents of every round are chosen by hash, so each machine finds the same choice by itself; a shard is a range of it. Its
directory is that of an ordinary run, for `pop status` and to resume, but for the note SHARD. The merged run holds what a run on
one machine would: documents at their places, every call and every finished episode once, who played, and what it took. An
episode that a shard has not finished is played when the merged run is resumed, with the calls that the shard made for it.

On a cluster finished episodes leave a worker with their calls as segments, on any store that fsspec knows:

    <storage>/run                                    the id of the run that the storage belongs to
    <storage>/round-1/shard-3-of-64/000002-9f3c1a.parquet
    <storage>/models/round-1/                        the model trained in round 1, where the storage is not on this disk

A segment is a Parquet file with a row for each episode and its calls in a list, and never changes: it is written under another
name and renamed on a disk, or put at once into an object store. Its number goes up within a shard; the letters tell apart what
two workers publish about the same shard, when one was taken for dead. Such segments may hold the same episode: whoever reads
them keeps the first one whole (`Journal.take_in`). Segments whose name ends in `-begun` hold calls of episodes that were not
finished when a worker was told to stop.
"""

import asyncio
import errno
import glob
import hashlib
import io
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pop_selfplay.errors import ConfigError, JournalError, JournalStopped, UsageError
from pop_selfplay.journal import Journal, Tally
from pop_selfplay.journal.files import atomic_write, explain
from pop_selfplay.journal.notes import SECONDS, SHARD, PartOfRun
from pop_selfplay.journal.schema import CALL_COLUMNS, Played
from pop_selfplay.records import Document, Shard
from pop_selfplay.runs.session import Session, open_session, watch_session

T = TypeVar("T")

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
    with open_session(out, shards[0].config, domain=shards[0].domain) as session:  # the prompts that were played with
        journal = session.journal
        for fork in {shard.journal.noted("forked_from"): shard.journal for shard in shards}.values():
            journal.inherit(fork.inherited())  # before calls are taken in, each of which ends its inheritance
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
        SECONDS.write(journal, sum(sum(SECONDS.values(shard.journal)) for shard in shards), "1/synthesis")


def _batches(journal: Journal) -> Iterator[list[Played]]:
    for episodes in ((episode for _, episode in journal.played()), journal.begun_episodes()):
        while batch := list(islice(episodes, _AT_ONCE)):
            yield batch


_MARK: Final = "run"
_BEGUN: Final = "-begun"
_NUMBERS: Final = {"attempt", "round", "prompt_tokens", "cached_tokens", "generated_tokens"}
_CALL: Final = pa.struct([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in CALL_COLUMNS.split(", ")])
_RESUME: Final = "; resume when it answers again"
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_FOR_GOOD: Final = (FileNotFoundError, PermissionError)
_REFUSALS: Final = {errno.EPERM, errno.EINVAL, errno.ENOSYS}
_PASSING: Final = {"HTTPClientError", "ConnectionError", "ClientError", "HttpError", "TransportError"}
"""What botocore, aiohttp, gcsfs and google-auth name trouble on the way that is no OSError."""
_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("round", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("record", pa.string()),
        ("calls", pa.list_(_CALL)),
    ]
)


class Storage:
    """Where the workers of one run publish.

    Every method tries once. It raises JournalStopped where the store does not answer, and `patiently` tries such a one again;
    JournalError where the store refuses, or has lost what it held.
    """

    def __init__(self, url: str) -> None:
        """Name the storage at `url`, a path or anything that fsspec opens. Raises ConfigError where fsspec knows no such."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"runner.storage: cannot open {url}: {error}") from error
        self._url = url
        self._on_disk = "file" in self._files.protocol  # a name, or several

    def claim(self, run_id: str) -> None:
        """Make the storage the one of the run `run_id`. Raises ConfigError where it belongs to another."""
        owner = self._owner()
        if owner not in (None, run_id):
            raise ConfigError(f"runner.storage: {self._url} holds the work of another run ({owner}): name one for this run")
        if owner is None:
            self._write(_MARK, run_id.encode())

    def check(self, run_id: str) -> None:
        """Raise ConfigError where this machine does not see the storage of the run `run_id`."""
        if self._owner() != run_id:
            raise ConfigError(
                f"runner.storage: a worker does not find the run's storage at {self._url}: name a folder that all machines "
                "share, or a URL such as s3://bucket/folder"
            )

    def publish(self, round_: int, shard: Shard, number: int, episodes: list[Played], *, begun: bool = False) -> str:
        """Write a segment and return its name."""
        end = _BEGUN if begun else ""
        name = f"{_folder(round_, shard)}/{number:06d}-{secrets.token_hex(4)}{end}.parquet"
        rows = [one._asdict() | {"calls": [_named(call) for call in one.calls]} for one in episodes]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer, compression="zstd")
        self._write(name, buffer.getvalue())
        return name

    def read(self, name: str) -> list[Played]:
        """Return the episodes of a segment."""
        with self._reaching(f"read the segment {name} in"):
            data = self._files.cat_file(self._at(name))
        try:
            rows = pq.read_table(io.BytesIO(data)).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise JournalError(f"cannot read the segment {name} in {self._url}: {error}") from error
        return [Played(**row | {"calls": tuple(tuple(call.values()) for call in row["calls"])}) for row in rows]

    def published(self, round_: int, shard: Shard | None = None) -> list[str]:
        """Return the names of all segments of finished episodes of a round, or of one shard of it, in their order."""
        folder = f"round-{round_}" if shard is None else _folder(round_, shard)
        with self._reaching("list the segments in"):
            found = self._files.glob(glob.escape(self._at(folder)) + ("/*.parquet" if shard else "/*/*.parquet"))
        names = [str(path)[len(self._root) :].lstrip("/") for path in found]
        return sorted(name for name in names if not name.endswith(f"{_BEGUN}.parquet"))

    def send_model(self, path: Path, round_: int) -> str:
        """Return where the workers find the model of `round_`, which lies at `path`; copy it there where that is elsewhere."""
        if self._on_disk:
            return str(path.absolute())
        target = self._at(f"models/round-{round_}")
        with self._reaching(f"copy the model {path} to"):
            if not self._files.exists(f"{target}/config.json"):
                files = sorted(path.rglob("*"), key=lambda file: file.name == "config.json")  # last, as the sign of the whole
                for file in filter(Path.is_file, files):
                    self._files.put_file(str(file), f"{target}/{file.relative_to(path)}")
        return f"models/round-{round_}"

    def fetch_model(self, source: str, target: Path) -> None:
        """Put the model that `send_model` named to `target`, as a link where it lies on this disk."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._on_disk:
            target.symlink_to(source)
            return
        with self._reaching(f"fetch the model {source} from"):
            self._files.get(f"{self._at(source)}/", f"{target}/", recursive=True)

    def _owner(self) -> str | None:
        with self._reaching("read from"):
            try:
                return str(self._files.cat_file(self._at(_MARK)).decode())
            except FileNotFoundError:
                return None

    def _write(self, name: str, data: bytes) -> None:
        path = self._at(name)
        with self._reaching("write to"):
            if not self._on_disk:
                self._files.pipe_file(path, data)  # an object appears whole or not at all
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as file:
            file.write(data)

    @contextmanager
    def _reaching(self, doing: str) -> Iterator[None]:
        self._files.invalidate_cache()  # of listings: a segment of another process since then would not be there for it
        try:
            yield
        except Exception as error:  # of whatever kind the store's library makes
            said = f"cannot {doing} runner.storage {self._url}: {str(error) or type(error).__name__}"
            if self._on_disk or not _may_pass(error):
                raise JournalError(said) from error
            raise JournalStopped(said + _RESUME) from error

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


async def patiently(patience_s: float, work: Callable[..., T], *arguments: Any, notice: Callable[[str], None]) -> T:
    """Do `work` in a thread, again and again for so long while it raises JournalStopped; `notice` hears of the first time."""
    now = asyncio.get_running_loop().time
    until, pause = now() + patience_s, _PAUSE_S
    while True:
        try:
            return await asyncio.to_thread(work, *arguments)
        except JournalStopped as error:
            if now() >= until:
                raise
            if pause == _PAUSE_S:
                notice(f"{str(error).removesuffix(_RESUME)}; it is tried again for {patience_s:.0f} s")
        await asyncio.sleep(min(pause, max(0.0, until - now())))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _may_pass(error: Exception) -> bool:
    """Whether a store may be reached later: the network failed, or the server did."""
    if isinstance(error, OSError):
        return not isinstance(error, _FOR_GOOD) and error.errno not in _REFUSALS
    return any(kind.__name__ in _PASSING for kind in type(error).__mro__)


def _folder(round_: int, shard: Shard) -> str:
    return f"round-{round_}/shard-{shard.number}-of-{shard.shards}"


def _named(call: tuple[str | int, ...]) -> dict[str, str | int]:
    return dict(zip(CALL_COLUMNS.split(", "), call, strict=True))


def note_of(name: str) -> str:
    """Return the journal's key of a segment that was taken in."""
    return f"segment/{name}"


def counted(episodes: Iterable[Played]) -> Tally:
    """Return the counts of `episodes`, as the journal that takes them in will keep them."""
    tally, columns = Tally(), CALL_COLUMNS.split(", ")
    places = [columns.index(name) for name in ("prompt_tokens", "cached_tokens", "generated_tokens")]
    for one in episodes:
        tally.episodes[one.round, one.stage, one.reason] += bool(one.record)
        for call in one.calls:
            prompt, cached, generated = (int(call[place]) for place in places)
            role, reason = str(call[columns.index("role")]), str(call[columns.index("reason")])
            tally.add_calls(one.round, role, reason, 1, prompt, cached, generated)
    return tally
