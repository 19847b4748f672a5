"""Files by path, folder, glob or URL: where they are, how their ids begin, what they hold and how they are opened.

What a file holds is told by the end of its name, a new one is a line in `_KINDS`. All but Parquet, which has its own
compression, may also end in .gz, .bz2, .xz or .zst, a new one is a line in `OPENERS`. In a folder a file with another name has
no kind, hidden files are passed over, and a linked folder is followed, each real folder once. A file that was named, or found
by a glob, is read as text whatever its name, but for archives and tables (`_NO_TEXT`).

URLs are opened by fsspec: s3://, gs://, https://, hf://, zip://…::…, memory:// and all else it has a driver for. One
that is not installed (s3fs, gcsfs) is named in the error. Credentials come from where it looks for them, and from fsspec's own
environment variables (FSSPEC_S3_ENDPOINT_URL). A remote file that breaks off is an error and not a skipped text: which
documents a run works on must not depend on the network.
"""

import bz2
import glob
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import fsspec.core

from pop_selfplay.errors import CorpusError

Kind = Literal["text", "lines", "parquet"]
_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys((".txt", ".text", ".md", ".markdown"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "lines"),  # lines, or one array
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
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


def find_files(paths: list[str], setting: str) -> Iterator[File]:
    """Yield the files under `paths`, in the order of paths and names.

    Raises CorpusError that names `setting`, the place in the config to correct, when a path does not exist, a glob
    matches nothing or a URL cannot be reached.
    """
    paths = list(dict.fromkeys(paths))
    for given, label in zip(paths, _labels(paths), strict=True):
        yield from find_remote(given, label, setting) if is_remote(given) else _find_local(given, label, setting)


def _labels(paths: list[str]) -> list[str]:
    """Return what to put before the ids of each path: nothing for one path, else the shortest ends that all differ."""
    if len(paths) == 1:
        return [""]
    parts = [Path(without_query(path)).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(own[-length:]) for own in parts]
        if len(set(labels)) == len(labels):
            return labels
    return paths


def _find_local(given: str, label: str, setting: str) -> Iterator[File]:
    path = Path(given.removeprefix("file://")).expanduser()
    if path.is_dir():
        yield from _walk(path, path, label)
    elif path.exists():
        yield _local(path, label or path.name, known_kind(path.name, str(path), setting))
    elif glob.has_magic(given):
        yield from _match(path, label, setting)
    else:
        raise CorpusError(f"path {given!r} does not exist: correct {setting} (now in {os.getcwd()})")


def _match(pattern: Path, label: str, setting: str) -> Iterator[File]:
    fixed = next(index for index, part in enumerate(pattern.parts) if glob.has_magic(part))
    root = Path(*pattern.parts[:fixed])
    matches = sorted(set(glob.iglob(str(pattern), recursive=True)))
    if not matches:
        raise CorpusError(f"path {str(pattern)!r} matches no file: correct {setting} (now in {os.getcwd()})")
    found = [path for path in map(Path, matches) if not path.is_dir()]
    for path in found:
        yield _local(path, join(label, path.relative_to(root).as_posix()), kind_of_named(path.name))
    seen = set(map(str, found))  # a "**" may match files inside of folders that it matches
    for folder in _outermost(path.parts for path in map(Path, matches) if path.is_dir()):
        yield from (file for file in _walk(Path(*folder), root, label) if file.place not in seen)


def _outermost(folders: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the folders, by the parts of their paths, that lie in no other one of them."""
    around: tuple[str, ...] | None = None
    for folder in sorted(folders):
        if around is None or folder[: len(around)] != around:
            around = folder
            yield folder


def _walk(folder: Path, root: Path, label: str) -> Iterator[File]:
    closed: list[Path] = []
    inside, seen = os.path.realpath(folder), set[str]()
    walked = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)), followlinks=True)
    for directory, folders, names in walked:
        folders[:] = [name for name in sorted(folders) if not name.startswith(".") and _is_new(directory, name, inside, seen)]
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(directory, name)
                yield _local(path, join(label, path.relative_to(root).as_posix()), kind_of(name))
    for path in closed:  # folders that we may not enter: not a file, so counted as unreadable
        yield _local(path, join(label, path.relative_to(root).as_posix()), "text")


def _is_new(directory: str, name: str, inside: str, seen: set[str]) -> bool:
    """Whether a folder is to be entered: a link only where it leads out of the folder `inside`, and to none `seen` before."""
    path = os.path.join(directory, name)
    real = os.path.realpath(path)
    if os.path.islink(path) and (os.path.commonpath((real, inside)) in (real, inside)):
        return False  # what lies inside is met without the link, and a link to a folder around it has no end
    new = real not in seen
    seen.add(real)
    return new


def _local(path: Path, id: str, kind: Kind | None) -> File:
    return File(str(path), id, kind, partial(_open_local, path))


def _open_local(path: Path) -> BinaryIO:
    if not os.path.isfile(path):  # a pipe or a socket would be waited on for ever
        raise OSError(f"{path} is not a regular file")
    return path.open("rb")


def known_kind(name: str, place: str, setting: str) -> Kind:
    """Return what the one file holds that was named. Raises CorpusError with its format where that is none we read."""
    kind = kind_of_named(name)
    if kind is None:
        raise CorpusError(
            f"{place} is a {format_of(name)} file, which is not read: unpack it or convert it to .txt, .jsonl or .parquet, and "
            f"correct {setting}"
        )
    return kind


def join(label: str, relative: str) -> str:
    """Return the id of the file at `relative`, under a path with this label."""
    return f"{label}/{relative}" if label else relative


def without_query(path: str) -> str:
    """Return an HTTP URL without its ?…, which is no part of the name and may hold a secret; any other path as it is."""
    return path.split("?", 1)[0] if path.startswith(("http://", "https://")) else path


def is_remote(given: str) -> bool:
    """Whether `given` is a URL, and not a file of this machine (file:// is one)."""
    return ("://" in given or "::" in given) and not given.startswith("file://") and not Path(given).exists()


def find_remote(url: str, label: str, setting: str) -> Iterator[File]:
    """Yield the files at `url`: a file, all in a folder but hidden ones, or those that match a glob, sorted by name.

    Raises CorpusError when there is none, or when it cannot be looked up.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        found = list(_look_up(filesystem, path, label))
    except Exception as error:  # every driver has its own errors
        raise CorpusError(f"cannot look up {url!r}: {_words(error)}\nCorrect {setting}, or check access to it.") from error
    if not found:
        raise CorpusError(f"URL {url!r} matches no file, or cannot be reached: correct {setting}, or check access to it")
    for name, id, kind in found:
        place = without_query(filesystem.unstrip_protocol(name))
        yield File(place, id, kind, partial(_open, filesystem, name, place))


class _Found(NamedTuple):
    name: str  # as the file system knows it
    id: str
    kind: Kind | None


def _look_up(filesystem: Any, path: str, label: str) -> Iterator[_Found]:
    try:
        type_ = filesystem.info(path)["type"]
    except FileNotFoundError:
        type_ = "glob" if glob.has_magic(path) else "nothing"
    if type_ == "directory":
        yield from _inside(filesystem, path, path, label)
    elif type_ == "file":
        name = without_query(path).rsplit("/", 1)[-1]
        yield _Found(path, label or name, known_kind(name, path, "the path"))
    elif type_ == "glob":
        parts = path.split("/")
        root = "/".join(parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
        matches = sorted(filesystem.glob(path, detail=True).items())
        seen = {name for name, info in matches if info["type"] != "directory"}
        yield from (_Found(name, join(label, _relative(name, root)), kind_of_named(name)) for name in sorted(seen))
        for folder in _outermost(tuple(name.split("/")) for name, info in matches if info["type"] == "directory"):
            inside = _inside(filesystem, "/".join(folder), root, label)
            yield from (found for found in inside if found.name not in seen)


def _inside(filesystem: Any, folder: str, root: str, label: str) -> Iterator[_Found]:
    for name in sorted(filesystem.find(folder)):
        if not any(part.startswith(".") for part in _relative(name, folder).split("/")):
            yield _Found(name, join(label, _relative(name, root)), kind_of(name))


def _relative(name: str, root: str) -> str:
    return name.removeprefix(root).lstrip("/")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _open(filesystem: Any, name: str, place: str) -> BinaryIO:
    file = _guarded(place, partial(filesystem.open, name, "rb"))
    return io.BufferedReader(_Stream(file, place), buffer_size=1 << 20)


def _guarded(place: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # every driver has its own errors
        message = f"{place} broke off while it was read: {_words(error)}\nCheck access to it, and run again."
        raise CorpusError(message) from error


class _Stream(io.RawIOBase):
    """The bytes of a remote file. Whatever its driver raises becomes a CorpusError, which no reader takes for a bad file."""

    def __init__(self, file: Any, place: str) -> None:
        self._file = file
        self._place = place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        data = _guarded(self._place, partial(self._file.read, len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(_guarded(self._place, partial(self._file.seek, offset, whence)))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
