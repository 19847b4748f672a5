"""Watch a training: every log entry to metrics.jsonl, every step to the observer, and a stop when it runs the wrong way."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.errors import TrainingError
from pop_selfplay.journal.rundir import write_atomically
from pop_selfplay.training import processes
from pop_selfplay.training.divergence import STEPS, running_backwards
from pop_selfplay.training.outcome import TrainingStep


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """A callback of the trainer that keeps the losses and token count the result needs.

    In a training of several processes all watch, so that all stop, and only the one with `writes` writes.
    """

    def __init__(self, metrics: Path, observe: Callable[[TrainingStep], None] | None, *, writes: bool = True) -> None:
        self.metrics = metrics
        self.observe = observe
        self.writes = writes
        self.losses: list[float] = []
        self.margins: list[float] = []
        self.tokens = 0

    def go_on_after(self, step: int) -> None:
        """Take up metrics.jsonl of an interrupted training, and forget what it logged after `step`; 0 for all of it."""
        for entry in lines_until(self.metrics, step, cut=self.writes):
            self._remember(entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,  # transformers passes the model, optimiser and more
    ) -> None:
        entry = {"step": state.global_step} | {name: finite(value) for name, value in logs.items()}
        if self.writes:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        if "loss" not in logs:
            return  # an evaluation, or the summary at the end
        self._remember(entry)
        loss = self.losses[-1]
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {state.global_step} of {state.max_steps} (learning rate "
                f"{logs.get('learning_rate')}): {diverged_advice(self.metrics)}"
            )
        if running_backwards(self.margins):
            raise TrainingError(
                f"for {STEPS} logged steps until step {state.global_step} of {state.max_steps}, rejected answers gained more "
                f"probability than chosen ones: {diverged_advice(self.metrics)}"
            )
        if self.observe is not None:
            self.observe(
                TrainingStep(
                    state.global_step,
                    state.max_steps,
                    loss,
                    float(logs.get("learning_rate", 0.0)),
                    float(logs.get("rewards/accuracies", 0.0)),
                    float(logs.get("rewards/margins", 0.0)),
                )
            )

    def _remember(self, entry: dict[str, Any]) -> None:
        if "loss" in entry:
            self.losses.append(float(entry["loss"]))
            self.margins.append(float(entry.get("rewards/margins", 0.0)))
            self.tokens = int(entry.get("num_tokens", 0))


def diverged_advice(metrics: Path) -> str:
    """Return what to do about a training that ran off, for the end of an error message."""
    return (
        "no model was kept. Lower training.dpo.learning_rate, and check that the starting model answers sensibly; "
        f"the steps until then are in {metrics}"
    )


def lines_until(path: Path, step: int, *, cut: bool = True) -> list[dict[str, Any]]:
    """Return the entries of a JSONL file, maybe missing, up to `step`; 0 for none. With `cut`, forget the others."""
    # Only \n ends a line: an answer may hold other ends. A kill may have cut a character in two.
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    kept = [line for line in lines if _step(line) <= step and step]
    processes.barrier()  # all have read it before the first one writes it anew
    if cut:
        write_atomically(path, "".join(f"{line}\n" for line in kept))
    return [json.loads(line) for line in kept]


def _step(line: str) -> float:
    """Return the step of a line; a line that a kill cut short belongs to no step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return math.inf


def finite(value: Any) -> Any:
    """Return `value` for a log: JSON has no NaN and no infinity: they are written as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
