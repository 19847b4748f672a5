"""Labels that were given elsewhere: CSV and JSON lines with our columns, records of Argilla, tasks of Label Studio.

The tools keep our columns with what was labelled: Argilla in `metadata`, Label Studio in `data`. Another tool is a function
that yields plain rows, and a line in `_flat`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pop_selfplay.errors import UsageError, validation_text
from pop_selfplay.labels import Label, now


def read_foreign(path: Path, author: str) -> list[Label]:
    """Return the labels in a CSV, JSON or JSON lines file; `author` stands in where it names nobody.

    Columns are those of `Label`; a record of Argilla has its columns in `metadata` and its answers in `responses`, a task of
    Label Studio in `data` and `annotations`, with questions named `rating`, `better`, `mark` or `note`. Raises UsageError with
    the row that is no label.
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
        yield from csv.DictReader(io.StringIO(text))
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
