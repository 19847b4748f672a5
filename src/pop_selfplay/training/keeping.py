"""What is kept while training: the last checkpoint, to go on from, and the best weights, to end with.

Best are the weights with most held-out pairs in order. A share of few pairs is a rough figure, and the highest of ten such
shares is partly luck; so whatever comes later and is not worse by more than one standard error takes their place. Their folder
is `best-STEP`; best.json names it once it is whole, so that a kill at any moment leaves the best so far readable.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.journal.rundir import write_atomically
from pop_selfplay.training import processes
from pop_selfplay.training.outcome import HeldOut
from pop_selfplay.training.unfinished import flush_all, seal

_FILE: Final = "best.json"


class Best(NamedTuple):
    """The step that is kept, the held-out pairs after it, and the highest share in order that any step had so far."""

    step: int
    held_out: HeldOut
    highest: float


def as_good(share: float, highest: float, pairs: int) -> bool:
    """Whether `share` of so many pairs in order is not below the `highest` by more than one standard error of that."""
    return share >= highest - math.sqrt(highest * (1 - highest) / pairs)


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Marks every checkpoint as whole once all processes have written their part, and removes the one before."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        processes.barrier()
        if processes.is_first():
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class KeepBest(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Saves the weights by `save` after every evaluation that is as good as the best so far.

    `figures` are those of the last evaluation, on so many held-out `pairs`.
    """

    def __init__(
        self, directory: Path, pairs: int, save: Callable[[Path], None], figures: Callable[[], HeldOut | None]
    ) -> None:
        self.directory = directory
        self.pairs = pairs
        self.save = save
        self.figures = figures

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        figures, best = self.figures(), read_best(self.directory)
        processes.barrier()  # all have read it before the first one writes it anew
        assert figures is not None  # there was an evaluation
        if best is not None and best.step == state.global_step:
            return  # kept before an interruption; to write it once more would be to break it for a while
        highest = max(figures.reward_accuracy, best.highest if best else 0.0)
        if not as_good(figures.reward_accuracy, highest, self.pairs):
            return
        folder = best_folder(self.directory, state.global_step)
        if processes.is_first():
            shutil.rmtree(folder, ignore_errors=True)
        self.save(folder)
        if processes.is_first():
            flush_all(folder)
            found = {"step": state.global_step, "held_out": figures.model_dump(), "highest": highest}
            write_atomically(self.directory / _FILE, json.dumps(found))
            for other in self.directory.glob("best-*"):
                if other != folder:
                    shutil.rmtree(other)
        processes.barrier()


def read_best(directory: Path) -> Best | None:
    """Return the best that is kept in `directory`, None while there is none."""
    file = directory / _FILE
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return Best(found["step"], HeldOut.model_validate(found["held_out"]), found["highest"])


def best_folder(directory: Path, step: int) -> Path:
    """Return where the weights of the best `step` lie."""
    return directory / f"best-{step}"
