"""Compressed files by the end of their name: .gz .bz2 .xz .zst. A new one is a line in OPENERS."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, cast


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(stream, "zstd"))


OPENERS: Final[dict[str, Callable[[BinaryIO], BinaryIO]]] = {
    ".gz": lambda stream: cast("BinaryIO", gzip.open(stream, "rb")),
    ".bz2": lambda stream: cast("BinaryIO", bz2.open(stream, "rb")),
    ".xz": lambda stream: cast("BinaryIO", lzma.open(stream, "rb")),
    ".zst": _open_zstd,
}
# What a file can raise that is cut short, is not what its name says, or cannot be opened. bz2 and zstd raise OSError.
UNREADABLE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError)
