"""The directory of a training that is not finished: made for one request, taken up again for the same, renamed at the end.

A training works in `.NAME.unfinished` beside the NAME it will get, so that a directory of that name is always whole. What lies
there is described by request.json; a training that is asked for the same goes on with it, any other starts clean.

    request.json     what was asked for, as a digest
    metrics.jsonl    every log entry
    samples.jsonl    online RL: every sampled answer
    checkpoint-N/    everything needed to go on after step N; only one with the file `whole` counts
    best-N/          the weights of the best checkpoint so far (keeping.py)
    last/, merged/   the finished weights on their way out
    pairs/           the pairs as token ids, with their reference log-probabilities (dataset.py)
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Final

METRICS: Final = "metrics.jsonl"
SAMPLES: Final = "samples.jsonl"
REQUEST: Final = "request.json"
LAST: Final = "last"
MERGED: Final = "merged"
WHOLE: Final = "whole"
"""Marks a checkpoint that was written to its end."""

_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")
_SCRATCH: Final = ("checkpoint-", "best-", "pairs", LAST, MERGED)


def unfinished_directory(out: Path) -> Path:
    """Return where the training of `out` works until it is finished."""
    return out.with_name(f".{out.name}.unfinished")


def take_up(out: Path, request: dict[str, Any]) -> Path:
    """Return the directory to work in: with what an interrupted training for the same `request` left there, otherwise empty."""
    directory = unfinished_directory(out)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    stored = directory / REQUEST
    if not stored.is_file() or stored.read_text(encoding="utf-8") != digest:
        _remove(directory)
        directory.mkdir(parents=True)
        stored.write_text(digest, encoding="utf-8")
    return directory


def last_checkpoint(directory: Path) -> Path | None:
    """Return the last whole checkpoint in `directory`, None without any."""
    whole = [path for path in _checkpoints(directory) if (path / WHOLE).is_file()]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was made."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match[1])


def seal(checkpoint: Path) -> None:
    """Mark `checkpoint` as whole, once it is on disk, and remove the ones before it."""
    flush_all(checkpoint)
    (checkpoint / WHOLE).touch()
    _flush(checkpoint)
    for older in _checkpoints(checkpoint.parent):
        if step_of(older) < step_of(checkpoint):
            shutil.rmtree(older)


def publish(directory: Path, result: Path, out: Path) -> None:
    """Give the finished model in `result`, a folder of `directory`, the name `out`, and remove what training left behind.

    metrics.jsonl, samples.jsonl and the reporters' folders come along. They are copied: until the rename, all of it can be done
    once more.
    """
    for path in directory.iterdir():
        if path.name in (METRICS, SAMPLES):
            shutil.copyfile(path, result / path.name)
        elif path.is_dir() and path != result and not path.name.startswith(_SCRATCH):
            shutil.copytree(path, result / path.name, dirs_exist_ok=True)
    flush_all(result)
    result.rename(out)
    _flush(out.parent)
    _remove(directory)


def flush_all(directory: Path) -> None:
    """Return once every file of `directory` is on disk."""
    for path in (*(path for path in directory.rglob("*") if path.is_file()), directory):
        _flush(path)


def _remove(directory: Path) -> None:
    """Remove `directory`, maybe missing; its request first, so that nobody takes up what is half removed."""
    (directory / REQUEST).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _checkpoints(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
