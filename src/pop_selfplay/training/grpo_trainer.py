"""TRL's GRPOTrainer, with what it needs to go on from a checkpoint to the very same end."""

import json
import math
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOTrainer

from pop_selfplay.core.seeds import derive_seed
from pop_selfplay.training.adamw import keep_remainders

_STATE: Final = "trainer_state.json"


class OnlineTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is untyped to us
    """TRL draws the order of each epoch's problems from one stream of numbers, and would begin with the first order again."""

    _epochs_done = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keep_remainders(self)

    @property
    def steps_per_generation(self) -> int:
        """After so many optimiser steps, at least, no answer that was sampled before is trained on any more."""
        passes: int = self.args.gradient_accumulation_steps
        return math.lcm(passes, self.args.steps_per_generation * self.num_iterations) // passes

    def go_on_from(self, checkpoint: Path) -> None:
        """Take the order of problems up where `checkpoint` was made; call it before training."""
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        self._epochs_done = int(state["epoch"])

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        if self.shuffle_dataset:
            for _ in range(self._epochs_done):
                torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL would with every checkpoint, and ours is written at the end (card.py)."""


class Repeatable(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Lets nothing that comes depend on an interruption before.

    Every step begins with a seed of its own. And a checkpoint waits for the last of the steps that share sampled answers
    (`every` many), because it does not hold them.
    """

    def __init__(self, seed: int, every: int) -> None:
        self._seed = seed
        self._every = every
        self._due = False

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        torch.manual_seed(derive_seed(self._seed, "step", state.global_step))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._due |= control.should_save
        control.should_save = self._due and (state.global_step % self._every == 0 or state.global_step >= state.max_steps)
        self._due &= not control.should_save
