"""What people say of a run's episodes: `labels.jsonl` beside the run, one label a line, only ever added to.

A label is one of three kinds: a `rating` of 0, 1 or 2 of one candidate on one criterion (or on the whole, criterion ""), a
`preference` between two candidates, or a `mark` on the rubric or the problem. Who changes their mind adds another line: of one
person's labels on the same thing the latest counts.

A line is added with one write, under a lock, and on the disk before `add` returns. A line that a crash cut short is passed over
and closed by the next writer. A new kind of label is a value of `Kind`.

Labels that were given elsewhere (`read_foreign`) are CSV and JSON lines with our columns, records of Argilla, or tasks of Label
Studio, which keep our columns with what was labelled, in `metadata` and in `data`. Another tool is a function that yields plain
rows, and a line in `_flat`.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, model_validator

from pop_selfplay.errors import JournalError, UsageError, validation_text
from pop_selfplay.journal.files import explain
from pop_selfplay.records import Record

FILE: Final = "labels.jsonl"

Kind = Literal["rating", "preference", "mark"]
Better = Literal["first", "second", "tie"]
Mark = Literal["bad_criterion", "wrong_gold", "missing_criterion", "not_self_contained"]

MARKS: Final[dict[Mark, str]] = {
    "bad_criterion": "a criterion is bad",
    "wrong_gold": "a gold answer is wrong",
    "missing_criterion": "something that matters has no criterion",
    "not_self_contained": "the problem cannot be answered by itself",
}


class Label(Record):
    """What one person says of one thing in one episode."""

    episode: str = Field(min_length=1, description="the episode's id")
    kind: Kind = Field(description="rating, preference or mark")
    author: str = Field(min_length=1, max_length=200, description="who gave it")
    time: str = Field(description="when, ISO 8601 in UTC")
    candidate: int | None = Field(None, ge=-1, description="rating: the candidate; preference: the first one")
    other: int | None = Field(None, ge=-1, description="preference: the second candidate")
    criterion: str = Field("", description="rating and mark: the criterion's name; empty for the whole answer or rubric")
    rating: int | None = Field(None, ge=0, le=2, description="rating: 0 bad, 1 medium, 2 good")
    better: Better | None = Field(None, description="preference: first, second or tie")
    mark: Mark | None = Field(None, description="mark: what is wrong")
    note: str = Field("", max_length=20_000, description="in words")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "Label":
        needed = {"rating": ["candidate", "rating"], "preference": ["candidate", "other", "better"], "mark": ["mark"]}[
            self.kind
        ]
        if any(getattr(self, name) is None for name in needed):
            raise ValueError(f"a {self.kind} needs {' and '.join(needed)}")
        return self

    @property
    def about(self) -> tuple[object, ...]:
        """What tells the thing that is labelled from every other one; a preference is the same both ways round."""
        both = frozenset((self.candidate, self.other)) if self.kind == "preference" else self.candidate
        return self.episode, self.kind, both, self.criterion, self.mark


def now() -> str:
    """Return this moment as labels store it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def add(run: Path, labels: Iterable[Label]) -> int:
    """Append `labels` to the run's file and return how many they are. Raises JournalError when it cannot be written."""
    lines = [label.model_dump_json(exclude_defaults=True) + "\n" for label in labels]
    path = run / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            cut_short = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = ("\n" * cut_short + "".join(lines)).encode()
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise explain(error, path, "write") from error
    return len(lines)


def read(run: Path) -> list[Label]:
    """Return the labels that count: of each person and thing the latest, in the order in which they were first given.

    Raises JournalError for a whole line that is no label; the last line may have been cut short, and is passed over then.
    """
    path = run / FILE
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise explain(error, path, "read") from error
    found: dict[tuple[object, ...], Label] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        label = _label(line, f"{path}, line {number}") if line.strip() else None
        if label is not None:
            found[label.author, *label.about] = label
    return list(found.values())


def _label(line: str, where: str) -> Label | None:
    """Return the label of a line; None for one that was cut short, which does not end as JSON objects end."""
    try:
        return Label.model_validate_json(line)
    except ValidationError as error:
        if not line.rstrip().endswith("}"):
            return None
        raise JournalError(f"{where} is no label ({validation_text(error)}): correct it, or remove the line") from error


def read_foreign(path: Path, author: str) -> list[Label]:
    """Return the labels in a CSV, JSON or JSON lines file; `author` stands in where it names nobody.

    Columns are those of `Label`; a record of Argilla has its columns in `metadata` and its answers in `responses`, a task of
    Label Studio in `data` and `annotations`, with questions named `rating`, `better`, `mark` or `note`; tasks that somebody
    skipped give none. Raises UsageError with the row that is no label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read labels from {path}: {error}") from error
    found = []
    for number, row in enumerate(_rows(text, path), 1):
        for plain in _flat(row):
            given = {name: value for name, value in plain.items() if name in Label.model_fields and value not in (None, "")}
            whole = {"author": author, "time": now(), "kind": _kind(given), **given}
            try:
                found.append(Label.model_validate(whole))
            except ValidationError as error:
                raise UsageError(f"row {number} of {path} is no label: {validation_text(error)}") from error
    return found


def _rows(text: str, path: Path) -> Iterator[Mapping[str, object]]:
    if path.suffix.lower() == ".csv":
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # tools put whole documents beside a label
        try:
            yield from csv.DictReader(io.StringIO(text, newline=""))
        except csv.Error as error:
            raise UsageError(f"{path} is no CSV: {error}") from error
        return
    try:
        whole = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except ValueError as error:
        raise UsageError(f"{path} is neither CSV (.csv) nor JSON: {error}") from error
    for row in whole:
        if not isinstance(row, dict):
            raise UsageError(f"{path} holds {row!r:.80} where a row should be")
        yield row


def _kind(row: Mapping[str, object]) -> str:
    return "preference" if "better" in row else "mark" if "mark" in row else "rating"


def _flat(row: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Yield the plain labels in a row, which may be a record of another tool."""
    if isinstance(row.get("annotations"), list):
        yield from _of_label_studio(row)
    elif isinstance(row.get("responses"), dict | list):
        yield from _of_argilla(row)
    else:
        yield dict(row)


def _of_label_studio(task: Mapping[str, object]) -> Iterator[dict[str, object]]:
    base = _dict(task.get("data"))
    for annotation in map(_dict, _list(task.get("annotations"))):
        answers: dict[str, object] = {}
        if annotation.get("was_cancelled") or not annotation.get("result"):
            continue  # a task that somebody skipped
        for result in map(_dict, _list(annotation.get("result"))):
            value = _dict(result.get("value"))
            chosen = value.get("choices") or value.get("text") or value.get("rating")
            answers[str(result.get("from_name", ""))] = chosen[0] if isinstance(chosen, list) and chosen else chosen
        person = annotation.get("completed_by")
        who = _dict(person).get("email") or person
        when = annotation.get("created_at")
        yield {**base, **answers, "author": None if who is None else str(who), "time": when}


def _of_argilla(record: Mapping[str, object]) -> Iterator[dict[str, object]]:
    base = _dict(record.get("metadata"))
    people: dict[str, dict[str, object]] = {}
    for question, answers in _dict(record.get("responses")).items():
        for answer in map(_dict, _list(answers)):
            person = str(answer.get("user_id") or "")
            people.setdefault(person, {})[question] = answer.get("value")
    for person, answers in people.items():
        yield {**base, **answers, "author": person}


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
