"""Files by path, folder, glob or URL: where they are, and how their ids begin. What they hold is in `file_kinds.py`.

In a folder, hidden files are passed over. A linked folder is followed, each real folder once. URLs are for `remote.py`.
"""

import glob
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pop_selfplay.corpus.file_kinds import File, Kind, join, kind_of, kind_of_named, known_kind, without_query
from pop_selfplay.errors import CorpusError


def find_files(paths: list[str], setting: str) -> Iterator[File]:
    """Yield the files under `paths`, in the order of paths and names.

    Raises CorpusError that names `setting`, the place in the config to correct, when a path does not exist, a glob
    matches nothing or a URL cannot be reached.
    """
    from pop_selfplay.corpus.remote import find_remote, is_remote

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
