"""Files behind URLs, by fsspec: s3://, gs://, https://, hf://, zip://…::…, memory:// and all else it has a driver for.

A driver that is not installed (s3fs, gcsfs) is named in the error. Credentials come from where the driver looks for
them, and from fsspec's own environment variables (FSSPEC_S3_ENDPOINT_URL). A remote file that breaks off is an error and
not a skipped text: which documents a run works on must not depend on the network.

Files by path, folder, glob or URL: where they are, and how their ids begin. What they hold is in `file_kinds.py`.

In a folder, hidden files are passed over. A linked folder is followed, each real folder once. URLs are opened by fsspec.
"""

import glob
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import fsspec.core

from pop_selfplay.corpus.file_kinds import File, Kind, format_of, kind_of, kind_of_named
from pop_selfplay.errors import CorpusError


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
        for name, info in sorted(filesystem.glob(path, detail=True).items()):
            if info["type"] != "directory":
                yield _Found(name, join(label, _relative(name, root)), kind_of_named(name))
            elif "**" not in parts:  # which matches the files inside, too
                yield from _inside(filesystem, name, root, label)


def _inside(filesystem: Any, folder: str, root: str, label: str) -> Iterator[_Found]:
    for name in sorted(filesystem.find(folder)):
        if not any(part.startswith(".") for part in _relative(name, folder).split("/")):
            yield _Found(name, join(label, _relative(name, root)), kind_of(name))


def _relative(name: str, root: str) -> str:
    return name.removeprefix(root).lstrip("/")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


# --- reading ----------------------------------------------------------------------------------------------------------


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
    matches = sorted(glob.iglob(str(pattern), recursive=True))
    if not matches:
        raise CorpusError(f"path {str(pattern)!r} matches no file: correct {setting} (now in {os.getcwd()})")
    for path in map(Path, matches):
        if not path.is_dir():
            yield _local(path, join(label, path.relative_to(root).as_posix()), kind_of_named(path.name))
        elif "**" not in pattern.parts:  # which matches the files inside, too
            yield from _walk(path, root, label)


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
