"""What a file holds, by the end of its name, and how it is opened.

| name ends in | holds |
| --- | --- |
| .txt .text .md .markdown | text |
| .jsonl .ndjson .json | lines, or one array |
| .parquet .pq | parquet |

All but Parquet, which has its own compression, may also end in .gz, .bz2, .xz or .zst: a new one is a line in `OPENERS`. A file
with another name has no kind where it is met in a folder; one that was named, or found by a glob, is read as text whatever its
name, but for archives and tables (`_NO_TEXT`).
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, Literal

Kind = Literal["text", "lines", "parquet"]
_KINDS: Final[dict[str, Kind]] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "lines",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_NO_TEXT: Final = frozenset(
    """
    .tar .tgz .tbz2 .txz .zip .7z .rar .csv .tsv .xls .xlsx .ods .pdf .doc .docx .odt .ppt .pptx .epub .arrow .feather .sqlite
    """.split()
)
"""Ends of the names of files that hold texts, but are none."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to read: `place` names it for people, `id` is its part of the document ids, `open` gives its raw bytes.

    `open` and what it returns raise OSError when a local file cannot be read, and CorpusError when a remote one cannot.
    """

    place: str
    id: str
    kind: Kind | None
    open: Callable[[], BinaryIO]

    @contextmanager
    def decompressed(self) -> Iterator[BinaryIO]:
        """Open the file, with the compression undone that its name tells of."""
        with self.open() as stream:
            opener = OPENERS.get(PurePosixPath(self.id).suffix.lower())
            if opener is None:
                yield stream
            else:
                with opener(stream) as decompressed:
                    yield decompressed


def kind_of(name: str) -> Kind | None:
    """Return what a file of this name holds, if its name says so."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in OPENERS:
        inner = _KINDS.get(path.with_suffix("").suffix.lower())
        return inner if inner != "parquet" else None
    return _KINDS.get(suffix)


def kind_of_named(name: str) -> Kind | None:
    """Return what a file of this name holds that was asked for by name; None for an archive or a table."""
    return kind_of(name) or (None if format_of(name) else "lines" if ".json" in PurePosixPath(name).suffixes else "text")


def format_of(name: str) -> str:
    """Return the end of the name of an archive, a table or an office file, as .tar.gz; "" for any other."""
    ends = PurePosixPath(name.lower()).suffixes[-2:]
    inner = [end for end in ends if end in _NO_TEXT]
    compressed = ends[-1:] if ends and ends[-1] in OPENERS else []
    return inner[-1] + "".join(compressed) if inner and (inner[-1] == ends[-1] or compressed) else ""


class _Zstd(io.RawIOBase):
    """What a zstd stream holds. One packed with a long window, which Arrow does not read, says how to repack it."""

    def __init__(self, stream: BinaryIO) -> None:
        import pyarrow

        self._inside = pyarrow.CompressedInputStream(stream, "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inside.read(len(buffer))
        except OSError as error:
            if "too much memory" in str(error):
                raise OSError(f"{error}: it was packed by zstd --long; repack it by zstd -d --long=31, then zstd") from error
            raise
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inside.close()
        super().close()


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    return io.BufferedReader(_Zstd(stream))


OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    ".gz": partial(gzip.open, mode="rb"),
    ".bz2": partial(bz2.open, mode="rb"),
    ".xz": partial(lzma.open, mode="rb"),
    ".zst": _open_zstd,
}
# What a file can raise that is cut short, is not what its name says, or cannot be opened. bz2 and zstd raise OSError.
UNREADABLE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError)
