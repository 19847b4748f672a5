"""Compressed files by the end of their name: .gz .bz2 .xz .zst. A new one is a line in OPENERS."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, Final


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(stream, "zstd"))


OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    ".gz": partial(gzip.open, mode="rb"),
    ".bz2": partial(bz2.open, mode="rb"),
    ".xz": partial(lzma.open, mode="rb"),
    ".zst": _open_zstd,
}
# What a file can raise that is cut short, is not what its name says, or cannot be opened. bz2 and zstd raise OSError.
UNREADABLE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError)
