"""What every benchmark is made of. Nothing here loads inspect_ai: the table of benchmarks can be read without it.

Another way to name a letter, in multiple choice, is a row of `_PHRASES`.

Local data files: `DATA_DIR/<benchmark>.jsonl` (or .json, .csv, .parquet), in the format the benchmark is published in.
"""

import copy
import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from pop_selfplay.corpus.rows import BadRow, json_rows
from pop_selfplay.errors import ConfigError
from pop_selfplay.stats.intervals import Estimate

Row = Mapping[str, Any]
"""One line of a data file, in the benchmark's own format."""


class Decoding(NamedTuple):
    """How the measured model samples, or a judge. temperature ≥ 0, 0 < top_p ≤ 1, `epochs` answers to each item."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 6144
    epochs: int = 1


GREEDY: Final = Decoding()


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    `figures` are what it measures, the first one decides. `scale` is their largest possible value (where it is 1 they are shown
    in percent), `lowest` their smallest. `judged` ones need a judge. `versus` says whether answers of a baseline are needed,
    or used where there are any. `options` are the benchmark's own settings with their defaults; where `fewshot` is one,
    `examples` is the name of the file with worked examples. `shipped` ones have their items with inspect_evals.
    """

    name: str
    title: str
    module: str
    figures: tuple[str, ...]
    scale: float = 1.0
    lowest: float = 0.0
    judged: bool = False
    versus: Literal["", "used", "needed"] = ""
    decoding: Decoding = GREEDY
    shipped: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    examples: str = ""


class Value(NamedTuple):
    """What one sample contributes to a figure: the figure is the mean of the values, weighted by the weights."""

    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class SampleScore:
    """What one sample scored: a value for each of the benchmark's figures, and what its summary needs besides.

    Items that are alike, two openings of one story say, have the same `cluster`; by default each item is one.
    """

    figures: Mapping[str, Value]
    detail: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""


@dataclass(frozen=True)
class Item:
    """One answer of one model to one item: what it scored, or in a stable word why it has no score (then no figures)."""

    id: str
    epoch: int
    figures: Mapping[str, Value] = field(default_factory=dict)
    lost: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""

    @property
    def group(self) -> str:
        """What is resampled together."""
        return self.cluster or self.id


@dataclass(frozen=True)
class Setup:
    """What a task is built from.

    `rows` are the items from a local data file, None where the hub's are to be used, and `examples` those of the file with
    worked examples, None where there is none or none is asked for. `judge` is an inspect Model. `baseline` maps item ids to the
    answers that `versus` benchmarks compare with; None where this model's own answers are the baseline.
    """

    benchmark: Benchmark
    rows: Sequence[Row] | None
    examples: Sequence[Row] | None = None
    judge: Any = None
    baseline: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Tasks(Protocol):
    """A benchmark's module."""

    def make_task(self, setup: Setup) -> Any:
        """Return the inspect Task. Raises ConfigError when the data is not in the benchmark's format."""
        ...

    def read(self, sample: Any) -> SampleScore | str:
        """Return what a finished inspect EvalSample scored, or in a stable word why it has no score."""
        ...

    def summary(self, items: Sequence[Item], seed: int) -> dict[str, Estimate]:
        """Return the figures of all scored items together that are no means over items; most benchmarks have none."""
        ...


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
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}: check the name") from error
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


_LETTER: Final = r"\(?([A-Z])\)?(?![a-zA-Z'’])"
_PHRASES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i:\banswer)(?i:\s+is)?\s*[:=]\s*{_LETTER}",
        rf"(?i:\banswer|\boption|\bchoice)(?i:\s+choice|\s+option)?\s+(?i:is|must\s+be|would\s+be|should\s+be)\s*:?\s*(?i:option\s+|choice\s+)?{_LETTER}",
        rf"\\boxed\s*\{{\s*{_LETTER}\s*\}}",
        rf"(?im:^\s*(?:so|thus|therefore|hence)?,?\s*(?:i\s+choose|i\s+pick)\s*:?\s*(?:option\s+)?)(?-i:{_LETTER})",
        rf"(?m:^\s*{_LETTER}\s*[.:]?\s*$)",
    )
)
_MARKUP: Final = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}|[*_`$#]|\\[()\[\]]|<[^<>]{1,20}>")


def letter_in(completion: str, options: int) -> str | None:
    """Return the letter that an answer to a question with so many options names last; None where it names none of them.

    By the first phrase of `_PHRASES` that the text holds: "answer: (D)", "the answer is D", a box, "I choose D", a line with
    nothing but the letter. Bold, LaTeX and dollars are taken off before. A letter in running text says nothing.
    """
    text = _MARKUP.sub(lambda found: found[1] or "", completion)
    last = chr(ord("A") + options - 1)
    for phrase in _PHRASES:
        letters = [letter for letter in phrase.findall(text) if letter <= last]
        if letters:
            return str(letters[-1])
    return None
