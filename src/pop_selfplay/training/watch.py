"""Watch a training: every log entry to metrics.jsonl, every step to the observer, and a stop at a loss that is no number."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.errors import TrainingError
from pop_selfplay.training.outcome import TrainingStep


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """A callback of the trainer that keeps the losses and token count the result needs."""

    def __init__(self, metrics: Path, observe: Callable[[TrainingStep], None] | None) -> None:
        self.metrics = metrics
        self.observe = observe
        self.losses: list[float] = []
        self.tokens = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,  # transformers passes the model, optimiser and more
    ) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step} | {k: _finite(v) for k, v in logs.items()}) + "\n")
        if "loss" not in logs:
            return  # an evaluation, or the summary at the end
        loss = float(logs["loss"])
        self.losses.append(loss)
        self.tokens = int(logs.get("num_tokens", 0))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {state.global_step} of {state.max_steps} (learning rate "
                f"{logs.get('learning_rate')}): {diverged_advice(self.metrics)}"
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


def diverged_advice(metrics: Path) -> str:
    """Return what to do about a training that ran off to infinity, for the end of an error message."""
    return (
        "no model was kept. Lower training.dpo.learning_rate, and check that the starting model answers sensibly; "
        f"the steps until then are in {metrics}"
    )


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
