"""Documents from files: text and Markdown (a file is a document), JSON (a line, or an element) and Parquet (a row).

Which files, and what their names mean, is in `discovery.py`. A single bad file, line or row is skipped with its reason.

Ids: the path relative to the folder given (or the file's name), for JSON with `#` and the number of the line or element from 1,
for Parquet with `#` and the row number from 0. With several paths, the shortest end of each that tells them apart comes first.
"""

from collections.abc import Iterator
from typing import Any, Final

from pop_selfplay.config import FilesCorpus
from pop_selfplay.corpus.discovery import UNREADABLE, File, find_files
from pop_selfplay.corpus.rows import PROVENANCE, BadRow, Entry, Reason, Skipped, json_rows, to_entry

_ROWS_AT_ONCE: Final = 1024
_MAGIC: Final = {
    (0, b"PK\x03\x04"): "a zip archive",
    (257, b"ustar"): "a tar archive",
    (0, b"7z\xbc\xaf"): "a 7z archive",
    (0, b"Rar!"): "a rar archive",
    (0, b"\x1f\x8b"): "gzip, and its name does not end in .gz",
    (0, b"\xfd7zXZ"): "xz, and its name does not end in .xz",
    (0, b"\x28\xb5\x2f\xfd"): "zstd, and its name does not end in .zst",
    (0, b"%PDF-"): "a PDF",
    (0, b"PAR1"): "Parquet, and its name does not end in .parquet",
    (0, b"SQLite format 3\0"): "a database",
}
"""Where and how the files begin that are no text, whatever their names say."""


def read_files(config: FilesCorpus) -> Iterator[Entry]:
    """Yield the documents of all files under `config.paths`, in the order of paths and names.

    Raises CorpusError when a path does not exist, a glob matches nothing, or a URL cannot be read.
    """
    for file in find_files(config.paths, "corpus.paths"):
        match file.kind:
            case None:
                yield Skipped(file.place, "unknown_type")
            case "text":
                yield from _read_text(file, config)
            case "lines":
                yield from _read_lines(file, config)
            case "parquet":
                yield from _read_parquet(file, config)


def _read_text(file: File, config: FilesCorpus) -> Iterator[Entry]:
    try:
        with file.decompressed() as stream:
            data = stream.read()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Skipped(file.place, *_not_text(data, "not_utf8", f"{error.reason} at byte {error.start}"))
    except UNREADABLE as error:
        yield Skipped(file.place, "unreadable", str(error))
    else:
        reason, detail = _not_text(data, "empty", "")
        if reason == "not_text":
            yield Skipped(file.place, reason, detail)
            return
        whole = config.changed({"id_field": None, "title_field": None})
        yield to_entry({config.text_field: text}, whole, row_id=file.id, source=file.place, place=file.place)


def _not_text(data: bytes, reason: Reason, detail: str) -> tuple[Reason, str]:
    """Return that `data` is no text and what it is, or else the reason and detail given."""
    format_ = next((name for (place, magic), name in _MAGIC.items() if data[place : place + len(magic)] == magic), None)
    return (reason, detail) if format_ is None else ("not_text", f"it is {format_}: unpack or convert it")


def _read_lines(file: File, config: FilesCorpus) -> Iterator[Entry]:
    number = 0
    try:
        with file.decompressed() as lines:
            for number, row in json_rows(lines):
                yield _entry(row, number, file, config)
    except UNREADABLE as error:
        yield Skipped(f"{file.place}#{number + 1}", "unreadable", str(error))


def _entry(row: Any, number: int, file: File, config: FilesCorpus) -> Entry:
    place = f"{file.place}#{number}"
    if isinstance(row, BadRow):
        return Skipped(place, row.reason, row.detail)
    if not isinstance(row, dict):
        return Skipped(place, "not_an_object")
    return to_entry(row, config, row_id=f"{file.id}#{number}", source=file.place, place=place)


def _read_parquet(file: File, config: FilesCorpus) -> Iterator[Entry]:
    import pyarrow
    import pyarrow.parquet

    wanted = {config.text_field, config.title_field, config.id_field, *PROVENANCE}
    number = 0
    try:
        with file.open() as stream, pyarrow.parquet.ParquetFile(stream) as table:
            columns = [name for name in table.schema_arrow.names if name in wanted]
            if config.text_field not in columns:
                for number in range(table.metadata.num_rows):
                    yield Skipped(f"{file.place}#{number}", "no_text_field")
                return
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                for index in range(batch.num_rows):
                    place = f"{file.place}#{number}"
                    try:
                        row = {name: batch.column(name)[index].as_py() for name in columns}
                    except UnicodeDecodeError:
                        yield Skipped(place, "not_utf8")
                    else:
                        yield to_entry(row, config, row_id=f"{file.id}#{number}", source=file.place, place=place)
                    number += 1
    except (OSError, pyarrow.ArrowException) as error:
        yield Skipped(f"{file.place}#{number}", "unreadable", str(error))
