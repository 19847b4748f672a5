"""The directory of a training that is not finished: made for one request, resumed for the same, renamed at the end.

A training works in `.NAME.unfinished` beside the NAME it will get, so that a directory of that name is always whole. What lies
there is described by request.json; a training that is asked for the same resumes, any other starts clean.

    request.json     what was asked for, as a digest
    metrics.jsonl    every log entry
    samples.jsonl    online RL: every sampled answer
    checkpoint-N/    everything needed to resume after step N; only one with the file `whole` counts
    best-N/          the weights of the best checkpoint so far
    last/, merged/   the finished weights on their way out
    pairs/           the pairs as token ids, with their reference log-probabilities (data.py)

Kept while training are the last checkpoint, to resume from, and the best weights, to end with. What is best, the figures of the
held-out pairs say (their `quality`). DPO counts pairs in order: a share of few pairs is a rough figure, and the highest of ten
such shares is partly luck, so whatever comes later and is not worse by more than one standard error takes its place. The folder
is `best-STEP`; best.json names it once it is whole, so that a kill at any moment leaves the best so far readable.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.journal.files import write_atomically
from pop_selfplay.results.run import H
from pop_selfplay.training import distributed

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


def take_up(out: Path, request: dict[str, object]) -> Path:
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


_FILE: Final = "best.json"


class Best(NamedTuple, Generic[H]):
    """The step that is kept, the held-out pairs after it, and the highest quality that any step had so far."""

    step: int
    held_out: H
    highest: float


def as_good(share: float, highest: float, pairs: int) -> bool:
    """Whether `share` of so many pairs in order is not below the `highest` by more than one standard error of that."""
    return share >= highest - math.sqrt(highest * (1 - highest) / pairs)


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Marks every checkpoint as whole once all processes have written their part, and removes the one before."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        distributed.barrier()
        if distributed.is_first():
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class KeepBest(TrainerCallback, Generic[H]):  # type: ignore[misc]  # transformers is untyped to us
    """Saves the weights by `save` after every evaluation that is as good as the best so far.

    `figures` are those of the last evaluation, of the given `kind`. `as_good` says whether a quality holds against the highest.
    """

    def __init__(
        self,
        directory: Path,
        kind: type[H],
        save: Callable[[Path], None],
        figures: Callable[[], H | None],
        as_good: Callable[[float, float], bool],
    ) -> None:
        self.directory = directory
        self.kind = kind
        self.save = save
        self.figures = figures
        self.as_good = as_good

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        figures, best = self.figures(), read_best(self.directory, self.kind)
        distributed.barrier()  # all have read it before the first one writes it anew
        assert figures is not None  # there was an evaluation
        if best is not None and best.step == state.global_step:
            return  # kept before an interruption; to write it once more would be to break it for a while
        highest = max(figures.quality, best.highest) if best else figures.quality
        if not self.as_good(figures.quality, highest):
            return
        folder = best_folder(self.directory, state.global_step)
        if distributed.is_first():
            shutil.rmtree(folder, ignore_errors=True)
        self.save(folder)
        if distributed.is_first():
            flush_all(folder)
            found = {"step": state.global_step, "held_out": figures.model_dump(), "highest": highest}
            write_atomically(self.directory / _FILE, json.dumps(found))
            for other in self.directory.glob("best-*"):
                if other != folder:
                    shutil.rmtree(other)
        distributed.barrier()


def read_best(directory: Path, kind: type[H]) -> Best[H] | None:
    """Return the best that is kept in `directory`, with held-out figures of the given `kind`; None while there is none."""
    file = directory / _FILE
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return Best(found["step"], kind.model_validate(found["held_out"]), found["highest"])


def best_folder(directory: Path, step: int) -> Path:
    """Return where the weights of the best `step` lie."""
    return directory / f"best-{step}"
