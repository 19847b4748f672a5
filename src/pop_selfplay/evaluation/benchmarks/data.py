"""Local data files: `DATA_DIR/<benchmark>.jsonl` (or .json, .csv, .parquet), in the format the benchmark is published in."""

import copy
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pop_selfplay.corpus.json_rows import BadRow, json_rows
from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation.benchmarks.base import Row

_LONGEST_FIELD: Final = 2**31 - 1  # the library refuses 131,073 characters unless it is told
SUFFIXES: Final = (".jsonl", ".json", ".csv", ".parquet")


def read_rows(data_dir: Path, name: str) -> list[Row] | None:
    """Return the rows of `data_dir/<name>.*`, None where there is no such file.

    Raises ConfigError when the folder is missing, the file is not what its name says, or holds no rows.
    """
    if not data_dir.is_dir():
        raise ConfigError(f"the data directory {data_dir} does not exist: check --data-dir")
    path = next((path for suffix in SUFFIXES if (path := data_dir / f"{name}{suffix}").is_file()), None)
    if path is None:
        return None
    rows = read_file(path)
    if not rows:
        raise ConfigError(f"{path} has no rows")
    return rows


def read_file(path: Path) -> list[Row]:
    """Return the rows of one file, by its suffix. Raises ConfigError when it cannot be read."""
    readers: dict[str, Callable[[Path], list[Any]]] = {
        ".jsonl": _json,
        ".ndjson": _json,
        ".json": _json,
        ".csv": _csv,
        ".parquet": _parquet,
    }
    if path.suffix not in readers:
        raise ConfigError(f"{path} has none of the suffixes {', '.join(readers)}: convert it")
    try:
        rows = readers[path.suffix](path)
    except (OSError, ValueError, csv.Error) as error:  # ArrowInvalid, UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ConfigError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ConfigError(f"row {number} of {path} is not an object with fields: {row!r:.80}")
    return rows


def read_items(rows: Sequence[Row], read: Callable[[Row], Any], name: str) -> list[Any]:
    """Return `read(row)` for every row. Raises ConfigError that names the first row which is not in the benchmark's format."""
    items = []
    for number, row in enumerate(rows, 1):
        try:
            items.append(read(copy.deepcopy(dict(row))))  # some readers write into what they read
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"row {number} of the data for {name} is not in the benchmark's format "
                f"({type(error).__name__}: {error}); its fields are {sorted(row)}"
            ) from error
    _unique(items, name)
    return items


def baseline_answers(data_dir: Path, name: str) -> dict[str, str] | None:
    """Return item id → answer from `<name>_baseline.*`, None where there is no such file.

    Rows have `id` and `answer`, or are Arena-Hard's own: `uid` with `messages`, `question_id` with `choices`. Raises
    ConfigError for any other.
    """
    rows = read_rows(data_dir, f"{name}_baseline")
    if rows is None:
        return None
    answers: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        id_ = next((row[key] for key in ("id", "uid", "question_id") if key in row), None)
        answer = _answer_in(row)
        if id_ is None or answer is None:
            raise ConfigError(f"row {number} of {name}_baseline needs `id` and `answer`; its fields are {sorted(row)}")
        answers[str(id_)] = answer
    return answers


def _answer_in(row: Row) -> str | None:
    """Return the answer in a row, in one of three formats; None where it is in none of them."""
    try:
        if "messages" in row:
            content = row["messages"][-1]["content"]
            answer = content["answer"] if isinstance(content, dict) else content
        elif "choices" in row:
            answer = row["choices"][0]["turns"][-1]["content"]
        else:
            answer = row["answer"]
    except (KeyError, IndexError, TypeError):
        return None
    return answer if isinstance(answer, str) else None


def _unique(items: Iterable[Any], name: str) -> None:
    seen: set[Any] = set()
    for item in items:
        if item.id is not None and item.id in seen:
            raise ConfigError(f"the data for {name} has two items with the id {item.id!r}")
        seen.add(item.id)


def _json(path: Path) -> list[Any]:
    rows = []
    with path.open("rb") as stream:
        for number, row in json_rows(stream):
            if isinstance(row, BadRow):
                raise ValueError(f"row {number}: {row.reason}, {row.detail}")
            rows.append(row)
    items = rows[0] if len(rows) == 1 and isinstance(rows[0], dict) else {}
    if items and all(isinstance(item, dict) for item in items.values()):  # EQ-Bench publishes an object of items by id
        return [{"id": key, **item} for key, item in items.items()]
    return rows


def _csv(path: Path) -> list[Any]:
    csv.field_size_limit(_LONGEST_FIELD)
    table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    header = table.fieldnames or []
    if len(set(header)) < len(header):
        raise ValueError(f"two columns have the same name: {sorted(header)}")
    rows = list(table)
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has more or fewer cells than the header")
    return rows


def _parquet(path: Path) -> list[Any]:
    import pyarrow.parquet

    rows: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
    return rows
