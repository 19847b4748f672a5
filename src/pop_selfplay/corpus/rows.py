"""One row of a corpus (a JSONL line, a Parquet row, a dataset row, a text file) becomes a document or a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pop_selfplay.config import FilesCorpus, HuggingFaceCorpus
from pop_selfplay.records import Document
from pop_selfplay.text.characters import valid_unicode

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
    return Document(id=printable(row_id), text=valid_unicode(text), title=title_text, source=printable(source))


def printable(name: str) -> str:
    """Return a file name or id as valid Unicode; different names stay different."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
