"""Benchmark files → the index that documents and problems are checked against.

Files are found and named as for a corpus (`discovery.py`). Every string in them counts, whatever its field and however
deep it lies: questions, options, contexts, answers. A file that cannot be read is an error: a check that silently looked
at half of a benchmark would be worse than none.
"""

from collections.abc import Iterator, Sequence

from pop_selfplay.corpus.discovery import find_files
from pop_selfplay.corpus.file_kinds import UNREADABLE, File
from pop_selfplay.corpus.rows import BadRow, json_rows
from pop_selfplay.errors import CorpusError
from pop_selfplay.text.overlap import CONTAMINATION_WORDS, NO_BENCHMARKS, BenchmarkIndex, index_benchmarks


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
