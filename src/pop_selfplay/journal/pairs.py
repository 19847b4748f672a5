"""Preference pairs to and from a file that others can train on: Parquet or JSON lines.

One row per pair, columns as in `COLUMNS`; prompt, chosen and rejected are lists of messages with role and content. Such a file
loads with `datasets.load_dataset("parquet" | "json", data_files=...)` and trains with `trl dpo` as it is. The same pairs
always give the same bytes, and a file under its own name is always whole. Another format goes into `Format` and gets a writer
and a reader below.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pop_selfplay.errors import JournalError, UsageError, validation_text
from pop_selfplay.journal.files import atomic_write
from pop_selfplay.records import Message, PreferencePair
from pop_selfplay.text.fencing import storable

Format = Literal["parquet", "jsonl"]

SUFFIXES: Final[dict[str, Format]] = {".parquet": "parquet", ".jsonl": "jsonl"}
COLUMNS: Final = tuple(PreferencePair.model_fields)
ROWS_PER_GROUP: Final = 512
"""Rows of one Parquet row group, and so the most pairs held in memory at once."""

MESSAGES: Final = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SCORES: Final = dict.fromkeys(("chosen_score", "rejected_score"), pa.float64())
_TYPES: Final = dict.fromkeys(("prompt", "chosen", "rejected"), MESSAGES) | _SCORES | {"round": pa.int64()}
SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


def write_pairs(pairs: Iterable[PreferencePair], path: Path, format: Format | None = None) -> int:
    """Write `pairs` to `path` in their order and return how many there were; none gives a valid empty file.

    The format follows the suffix unless given. Text is stored as `storable` makes it. Raises UsageError for a suffix that
    names no format and JournalError when the file cannot be written; whatever was at `path` before then stays as it was.
    """
    return write_rows((row_of(pair) for pair in pairs), path, SCHEMA, format)


def write_rows(rows: Iterable[dict[str, object]], path: Path, schema: pa.Schema, format: Format | None = None) -> int:
    """Write `rows`, plain data with the columns of `schema` and every text storable, as `write_pairs` does."""
    kind = format or _format_of(path)
    with atomic_write(path) as file:
        return _write_parquet(iter(rows), file, schema) if kind == "parquet" else _write_jsonl(iter(rows), file)


def read_pairs(path: Path, format: Format | None = None) -> Iterator[PreferencePair]:
    """Yield the pairs of a file made by `write_pairs`, in its order, without loading all of it.

    Raises UsageError at once for a suffix that names no format; JournalError, while reading, for a file that is missing,
    damaged or does not hold preference pairs. Columns beyond `COLUMNS` are ignored; a file from before there were roles holds
    the solver's pairs.
    """
    read = {"parquet": _read_parquet, "jsonl": _read_jsonl}[format or _format_of(path)]
    return _validated(read(path), path)


def row_of(pair: PreferencePair) -> dict[str, object]:
    """Return `pair` as plain data in the order of `COLUMNS`, every text storable."""
    return {name: _plain(getattr(pair, name)) for name in COLUMNS}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Message):
        return {"role": value.role, "content": storable(value.content)}
    return value


def _format_of(path: Path) -> Format:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot tell the format of {path.name!r} from its suffix: use one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def _write_parquet(rows: Iterator[dict[str, object]], file: IO[bytes], schema: pa.Schema) -> int:
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(itertools.islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _write_jsonl(rows: Iterator[dict[str, object]], file: IO[bytes]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        count += 1
    return count


def _read_parquet(path: Path) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(ROWS_PER_GROUP, columns=columns):
            yield from batch.to_pylist()


def _read_jsonl(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {name: row[name] for name in COLUMNS if name in row} if isinstance(row, dict) else row


def _validated(rows: Iterator[Any], path: Path) -> Iterator[PreferencePair]:
    number = 0
    try:
        for row in rows:
            number += 1
            yield PreferencePair.model_validate(row)
    except OSError as error:
        raise JournalError(f"cannot read the pairs in {path}: {error.strerror or error}") from error
    except ValidationError as error:
        wrong = f"row {number} of {path} is no preference pair: {validation_text(error)}"
        raise JournalError(f"{wrong}. Needed: {', '.join(COLUMNS)}") from error
    except (pa.ArrowException, ValueError) as error:
        raise JournalError(f"{path} is damaged or not in the format of its suffix, after row {number}: {error}") from error
