"""Documents from files: text and Markdown (a file is a document), JSONL (a line) and Parquet (a row).

| name ends in | read as |
| --- | --- |
| .txt .text .md .markdown | one document |
| .jsonl .ndjson | one JSON object a line |
| .parquet .pq | one document a row |

All but Parquet, which has its own compression, may also end in `.gz`. In a folder, hidden files are passed over and
files with other names skipped as `unknown_type`; a file that is named, or found by a glob, is read whatever its name:
.json as lines (some people call JSONL so), all else as text.

Ids: the path relative to the folder given (or the file's name), for JSONL with `#` and the line number from 1, for
Parquet with `#` and the row number from 0. With several paths, the shortest end of each that tells them apart comes
first.
"""

import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from pop_selfplay.config import FilesCorpus
from pop_selfplay.corpus.rows import Entry, Skipped, to_entry
from pop_selfplay.errors import CorpusError

Kind = Literal["text", "lines", "parquet"]
_KINDS: Final[dict[str, Kind]] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_ROWS_AT_ONCE: Final = 1024
_UNREADABLE: Final = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class _File:
    """A file to read; `id` is its part of the document ids."""

    path: Path
    id: str
    kind: Kind | None


def read_files(config: FilesCorpus) -> Iterator[Entry]:
    """Yield the documents of all files under `config.paths`, in the order of paths and names.

    Raises CorpusError when a path does not exist or a glob matches nothing; a single bad file is skipped.
    """
    paths = list(dict.fromkeys(config.paths))
    for given, label in zip(paths, _labels(paths), strict=True):
        for file in _find(given, label):
            yield from _read_file(file, config)


def _read_file(file: _File, config: FilesCorpus) -> Iterator[Entry]:
    if file.kind is None:
        yield Skipped(str(file.path), "unknown_type")
        return
    if not os.path.isfile(file.path):  # a dangling link, a pipe, a socket
        yield Skipped(str(file.path), "unreadable")
        return
    read = {"text": _read_text, "lines": _read_lines, "parquet": _read_parquet}[file.kind]
    yield from read(file, config)


# --- finding files ----------------------------------------------------------------------------------------------------


def _labels(paths: list[str]) -> list[str]:
    """Return what to put before the ids of each path: nothing for one path, else the shortest ends that all differ."""
    if len(paths) == 1:
        return [""]
    parts = [Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(own[-length:]) for own in parts]
        if len(set(labels)) == len(labels):
            return labels
    return paths


def _find(given: str, label: str) -> Iterator[_File]:
    path = Path(given).expanduser()
    if path.is_dir():
        yield from _walk(path, path, label)
    elif path.exists():
        yield _File(path, label or path.name, _kind_of_named(path))
    elif glob.has_magic(given):
        yield from _match(path, label)
    else:
        raise CorpusError(f"corpus path {given!r} does not exist: correct corpus.paths (now in {os.getcwd()})")


def _match(pattern: Path, label: str) -> Iterator[_File]:
    fixed = next(index for index, part in enumerate(pattern.parts) if glob.has_magic(part))
    root = Path(*pattern.parts[:fixed])
    matches = sorted(glob.iglob(str(pattern), recursive=True))
    if not matches:
        raise CorpusError(f"corpus path {str(pattern)!r} matches no file: correct corpus.paths (now in {os.getcwd()})")
    for path in map(Path, matches):
        if not path.is_dir():
            yield _File(path, _id(path, root, label), _kind_of_named(path))
        elif "**" not in pattern.parts:  # which matches the files inside, too
            yield from _walk(path, root, label)


def _walk(folder: Path, root: Path, label: str) -> Iterator[_File]:
    closed: list[Path] = []
    for directory, folders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(directory, name)
                yield _File(path, _id(path, root, label), _kind(path))
    for path in closed:  # folders that we may not enter: not a file, so counted as unreadable
        yield _File(path, _id(path, root, label), "text")


def _id(path: Path, root: Path, label: str) -> str:
    relative = path.relative_to(root).as_posix()
    return f"{label}/{relative}" if label else relative


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = _KINDS.get(path.with_suffix("").suffix.lower())
        return inner if inner != "parquet" else None
    return _KINDS.get(suffix)


def _kind_of_named(path: Path) -> Kind:
    return _kind(path) or ("lines" if ".json" in path.suffixes else "text")


# --- reading one file -------------------------------------------------------------------------------------------------


def _open(path: Path, stack: ExitStack) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return cast("BinaryIO", stack.enter_context(gzip.open(path, "rb")))
    return stack.enter_context(path.open("rb"))


def _read_text(file: _File, config: FilesCorpus) -> Iterator[Entry]:
    place = str(file.path)
    try:
        with ExitStack() as stack:
            text = _open(file.path, stack).read().decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Skipped(place, "not_utf8")
    except _UNREADABLE:
        yield Skipped(place, "unreadable")
    else:
        whole = config.model_copy(update={"id_field": None, "title_field": None})
        yield to_entry({config.text_field: text}, whole, row_id=file.id, source=place, place=place)


def _read_lines(file: _File, config: FilesCorpus) -> Iterator[Entry]:
    with ExitStack() as stack:
        number = 0
        try:
            lines: Iterable[bytes] = _open(file.path, stack)
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_line(line, number, file, config)
        except _UNREADABLE:
            yield Skipped(f"{file.path}#{number + 1}", "unreadable")


def _read_line(line: bytes, number: int, file: _File, config: FilesCorpus) -> Entry:
    place = f"{file.path}#{number}"
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Skipped(place, "not_utf8")
    except (ValueError, RecursionError):
        return Skipped(place, "bad_json")
    if not isinstance(row, dict):
        return Skipped(place, "not_an_object")
    return to_entry(row, config, row_id=f"{file.id}#{number}", source=str(file.path), place=place)


def _read_parquet(file: _File, config: FilesCorpus) -> Iterator[Entry]:
    import pyarrow
    import pyarrow.parquet

    wanted = {config.text_field, config.title_field, config.id_field}
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file.path) as table:
            columns = [name for name in table.schema_arrow.names if name in wanted]
            if config.text_field not in columns:
                for number in range(table.metadata.num_rows):
                    yield Skipped(f"{file.path}#{number}", "no_text_field")
                return
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                for index in range(batch.num_rows):
                    place = f"{file.path}#{number}"
                    try:
                        row = {name: batch.column(name)[index].as_py() for name in columns}
                    except UnicodeDecodeError:
                        yield Skipped(place, "not_utf8")
                    else:
                        yield to_entry(row, config, row_id=f"{file.id}#{number}", source=str(file.path), place=place)
                    number += 1
    except (OSError, pyarrow.ArrowException):
        yield Skipped(f"{file.path}#{number}", "unreadable")
