"""TRL's GRPOTrainer, with what it needs to go on from a checkpoint to the very same end."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOTrainer

from pop_selfplay.core.seeds import derive_seed

_STATE: Final = "trainer_state.json"


class OnlineTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is untyped to us
    """TRL draws the order of each epoch's problems from one stream of numbers, and would begin with the first order again."""

    _epochs_done = 0

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


class FreshSeeds(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Every step begins with a seed of its own, so that what is random in it does not depend on an interruption before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        torch.manual_seed(derive_seed(self._seed, "step", state.global_step))
