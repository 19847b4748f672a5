"""Rows of a corpus: JSON files (lines, arrays, objects) as rows, and a row as a document or the reason why it is none.

The one JSON reader for corpus, benchmarks and duels. Benchmark files become the index that documents and problems are checked
against: every string in them counts, whatever its field and however deep it lies, and a file that cannot be read is an error: a
check that silently looked at half of a benchmark would be worse than none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pop_selfplay.config import FilesCorpus, HuggingFaceCorpus
from pop_selfplay.corpus.discovery import UNREADABLE, File, find_files
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document
from pop_selfplay.text.fencing import valid_unicode
from pop_selfplay.text.overlap import CONTAMINATION_WORDS, NO_BENCHMARKS, BenchmarkIndex, index_benchmarks

_BOM: Final = b"\xef\xbb\xbf"


class BadRow(NamedTuple):
    """A row that is no JSON: `reason` is not_utf8 or bad_json, `detail` the decoder's words."""

    reason: Literal["not_utf8", "bad_json"]
    detail: str


def json_rows(stream: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield each row or a BadRow, with its number from 1: that of its line, or its place in the array.

    `stream` gives lines, as an open binary file does; blank ones are no rows. Raises what reading it raises.
    """
    lines: Iterator[tuple[int, bytes]] = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    row = decoded(first[1])
    if _may_go_on(first[1], row):
        kept = [first, *lines]
        whole = decoded(b"".join(line for _, line in kept))
        if not isinstance(whole, BadRow):
            yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
            return
        if first[1].removeprefix(_BOM).strip() == b"[" or len(kept) == 1:
            yield 1, whole
            return
        lines = iter(kept[1:])
    yield first[0], row
    for number, line in lines:
        yield number, decoded(line)


def _may_go_on(line: bytes, row: Any) -> bool:
    """Whether a first line may be the beginning of an array or object, or an array of rows by itself."""
    if isinstance(row, BadRow):
        return row.reason == "bad_json" and line.removeprefix(_BOM).strip()[:1] in (b"[", b"{")
    return isinstance(row, list) and all(isinstance(element, dict) for element in row)


def decoded(data: bytes) -> Any:
    """Return the value in `data`, with or without a byte order mark, or a BadRow."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return BadRow("not_utf8", f"{error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow("bad_json", str(error))


Reason = Literal[
    "unreadable",  # the file system, the decompressor or the Parquet reader gave up on a file
    "unknown_type",  # a file found in a folder whose name says nothing that we read
    "not_text",  # an archive, a PDF or another binary file under the name of a text
    "not_utf8",
    "bad_json",  # a line or file that is not JSON
    "not_an_object",  # a row that is JSON, but has no fields
    "no_text_field",  # the text field is missing or null
    "text_not_a_string",
    "no_id_field",  # an id field is configured, and is missing or null
    "empty",  # nothing but white space
]


_SHOWN: Final = 20  # fields of a row
PROVENANCE: Final = ("license", "url", "source")
"""Fields of a row that say where its text comes from, and are kept wherever it goes."""
_LONGEST: Final = 2000
"""Characters of one of them; what is longer is no name and no address."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A text that cannot be used: where it stands (file, and line or row) and why; `detail` is what its reader said."""

    source: str
    reason: Reason
    detail: str = ""


Entry = Document | Skipped


def to_entry(
    row: Mapping[str, object], config: FilesCorpus | HuggingFaceCorpus, *, row_id: str, source: str, place: str
) -> Entry:
    """Return the document in `row`, by the fields that `config` names, or why there is none.

    `row_id` is the id where no id field is configured, `source` is what the row was read from, `place` names the row
    itself.
    """
    text = row.get(config.text_field)
    if text is None:
        there = ", ".join(sorted(map(str, row))[:_SHOWN])
        return Skipped(place, "no_text_field", f"{config.text_field} is missing or null, among: {there}" if there else "")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            return Skipped(place, "not_utf8")
    if not isinstance(text, str):
        return Skipped(place, "text_not_a_string", f"{config.text_field} is a {type(text).__name__}")
    if not text.strip():
        return Skipped(place, "empty")
    if config.id_field is not None:
        given = row.get(config.id_field)
        if given is None:
            return Skipped(place, "no_id_field")
        row_id = str(given)
    title = row.get(config.title_field) if config.title_field is not None else None
    title_text = "" if title is None else valid_unicode(str(title))
    license_, url, origin = (_said(row, field, config) for field in PROVENANCE)
    return Document(
        id=printable(row_id),
        text=valid_unicode(text),
        title=title_text,
        source=printable(source),
        license=license_,
        url=url,
        origin=origin,
    )


def _said(row: Mapping[str, object], field: str, config: FilesCorpus | HuggingFaceCorpus) -> str:
    """Return what a row says in a field of its provenance, "" where that is no text or a field of another use."""
    value = row.get(field)
    used = field in (config.text_field, config.title_field)
    return valid_unicode(value) if isinstance(value, str) and not used and len(value) <= _LONGEST else ""


def printable(name: str) -> str:
    """Return a file name or id as valid Unicode; different names stay different."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_benchmarks(paths: Sequence[str]) -> BenchmarkIndex:
    """Return the index of all benchmark files under `paths`: text, JSON or Parquet, also compressed. No path, empty index.

    Raises CorpusError when a path leads nowhere, a file cannot be read, or no text in them is long enough to be found.
    """
    if not paths:
        return NO_BENCHMARKS
    index = index_benchmarks(text for file in find_files(list(paths), "filter.benchmarks") for text in _texts(file))
    if not index.hashes.size:
        raise CorpusError(
            f"the benchmarks {list(paths)} hold no text of {CONTAMINATION_WORDS} words or more, so nothing could ever match: "
            "correct filter.benchmarks"
        )
    return index


def _texts(file: File) -> Iterator[str]:
    import pyarrow

    try:
        match file.kind:
            case "text":
                with file.decompressed() as stream:
                    yield stream.read().decode("utf-8-sig")
            case "lines":
                yield from _texts_of_lines(file)
            case "parquet":
                yield from _texts_of_parquet(file)
            case None:
                raise CorpusError(f"benchmark {file.place} is not text, JSON or Parquet: {_REMEDY}")
    except UnicodeDecodeError as error:
        raise CorpusError(f"benchmark {file.place} is not UTF-8 ({error.reason} at byte {error.start}): {_REMEDY}") from error
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        raise CorpusError(f"benchmark {file.place} cannot be read ({error}): {_REMEDY}") from error


_REMEDY = "convert or repair it, or correct filter.benchmarks"


def _texts_of_lines(file: File) -> Iterator[str]:
    with file.decompressed() as lines:
        for number, row in json_rows(lines):
            if isinstance(row, BadRow):
                what = "UTF-8" if row.reason == "not_utf8" else "JSON"
                raise CorpusError(f"benchmark {file.place}#{number} is not {what} ({row.detail}): {_REMEDY}")
            yield from _strings(row)


def _texts_of_parquet(file: File) -> Iterator[str]:
    import pyarrow.parquet

    with file.open() as stream, pyarrow.parquet.ParquetFile(stream) as table:
        schema = table.schema_arrow
        columns = [name for name in schema.names if _may_hold_text(schema.field(name).type)]
        for batch in table.iter_batches(batch_size=1024, columns=columns):
            for column in batch.columns:
                yield from _strings(column.to_pylist())


def _may_hold_text(type_: object) -> bool:
    """Whether an Arrow type is text or can have text inside; images and numbers need not be read."""
    import pyarrow.types as types

    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_nested, types.is_dictionary)
    return any(test(type_) for test in tests)


def _strings(value: object) -> Iterator[str]:
    """Yield every string in plain data, but not the keys of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
