"""The one reader of JSON files, whatever their name says: lines of JSON, one array of rows, or one object.

What a file holds is told by its first line. Lines are read one by one; an array, and an object of more than a line, whole.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

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
