"""Documents from files: text and Markdown (a file is a document), JSONL (a line) and Parquet (a row).

Which files, and what their names mean, is in `finding.py`. A single bad file, line or row is skipped with its reason.

Ids: the path relative to the folder given (or the file's name), for JSONL with `#` and the line number from 1, for
Parquet with `#` and the row number from 0. With several paths, the shortest end of each that tells them apart comes
first.
"""

import json
from collections.abc import Iterator
from typing import Final

from pop_selfplay.config import FilesCorpus
from pop_selfplay.corpus.discovery import UNREADABLE, File, find_files
from pop_selfplay.corpus.rows import Entry, Skipped, to_entry

_ROWS_AT_ONCE: Final = 1024


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
            text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Skipped(file.place, "not_utf8")
    except UNREADABLE:
        yield Skipped(file.place, "unreadable")
    else:
        whole = config.changed({"id_field": None, "title_field": None})
        yield to_entry({config.text_field: text}, whole, row_id=file.id, source=file.place, place=file.place)


def _read_lines(file: File, config: FilesCorpus) -> Iterator[Entry]:
    number = 0
    try:
        with file.decompressed() as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_line(line, number, file, config)
    except UNREADABLE:
        yield Skipped(f"{file.place}#{number + 1}", "unreadable")


def _read_line(line: bytes, number: int, file: File, config: FilesCorpus) -> Entry:
    place = f"{file.place}#{number}"
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Skipped(place, "not_utf8")
    except (ValueError, RecursionError):
        return Skipped(place, "bad_json")
    if not isinstance(row, dict):
        return Skipped(place, "not_an_object")
    return to_entry(row, config, row_id=f"{file.id}#{number}", source=file.place, place=place)


def _read_parquet(file: File, config: FilesCorpus) -> Iterator[Entry]:
    import pyarrow
    import pyarrow.parquet

    wanted = {config.text_field, config.title_field, config.id_field}
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
    except (OSError, pyarrow.ArrowException):
        yield Skipped(f"{file.place}#{number}", "unreadable")
