"""TRL's GRPOTrainer, resumed from a checkpoint to the very same end, and the sampling of its answers.

`Rollout` samples from the model in training with the decoding loop that plays the roles (models/local/). TRL's own generation
knows no stop tag, so that a model would write on after its answer, and copies its cache at each step. Here an answer ends at
its closing tag as in synthesis. It then gets an end token that is not trained on (`env_mask` 0), by which TRL tells it from
one that was cut off. Every answer has a seed of its own, made of the run's seed, the step and its place in the batch: a
training that is resumed samples the same answers.
"""

import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation

from pop_selfplay.config import Thinking
from pop_selfplay.errors import RequestRefused, TrainingError
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.local.batching import Row, cut_into_batches, encode
from pop_selfplay.models.local.decoding import Written, write
from pop_selfplay.models.local.loading import Loaded, ready
from pop_selfplay.records import Message, Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import CLOSING_TAG
from pop_selfplay.training.optimizer import keep_remainders

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

    def resume_from(self, checkpoint: Path) -> None:
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
        """Write none: TRL would with every checkpoint, and ours is written at the end (export.py)."""


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


BATCH_TOKENS = 65536
"""Most prompt and generated tokens of one batch of answers."""


class Rollout:
    """A `rollout_func` of TRL's GRPOTrainer. `thinking` is what the chat template is told."""

    def __init__(self, seed: int, thinking: Thinking) -> None:
        self._seed, self._thinking = seed, thinking
        self._times: tuple[int, int] = (-1, 0)  # the step that was last sampled for, and how often so far

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return one answer to each of `prompts`, conversations that are repeated for each answer of a group."""
        seeds = self._seeds(len(prompts), trainer)
        checkpointing = trainer.args.gradient_checkpointing_kwargs
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped, trainer.accelerator, gradient_checkpointing_kwargs=checkpointing
            ) as model,
            torch.no_grad(),
            trainer.accelerator.autocast(),
        ):
            training = model.training
            model.eval()
            try:
                loaded = ready(model, trainer.processing_class, trainer.accelerator.device, self._thinking)
                rows = _rows(loaded, prompts, seeds, trainer.args)
                written = _written(loaded, rows)
            finally:
                model.train(training)
        end = trainer.processing_class.eos_token_id
        marked = [row.by_limit or row.tokens[-1] in loaded.end_ids for row in written]
        return {
            "prompt_ids": [row.prompt for row in rows],
            "completion_ids": [row.tokens if done else [*row.tokens, end] for row, done in zip(written, marked, strict=True)],
            "env_mask": [[1] * len(row.tokens) + [0] * (not done) for row, done in zip(written, marked, strict=True)],
            "logprobs": None,
            "generated": [len(row.tokens) for row in written],  # handed on to the reward
        }

    def _seeds(self, count: int, trainer: Any) -> list[int]:
        step = trainer.state.global_step
        self._times = (step, self._times[1] + 1 if self._times[0] == step else 0)
        where = (step, self._times[1], trainer.accelerator.process_index)
        return [derive_seed(self._seed, "train", *where, place) for place in range(count)]


def _rows(loaded: Loaded, prompts: Sequence[Any], seeds: Sequence[int], args: Any) -> list[Row]:
    requests = [
        ChatRequest(
            role=Role.SOLVER,
            messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in prompt),
            temperature=args.temperature,
            top_p=args.top_p,
            max_tokens=args.max_completion_length,
            seed=seed,
            stop=CLOSING_TAG[Role.SOLVER],
        )
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    rows = []
    for place, (request, prompt) in enumerate(zip(requests, encode(loaded, requests), strict=True)):
        if isinstance(prompt, RequestRefused):
            raise TrainingError(f"a problem can no longer be asked: {prompt}")
        rows.append(Row(place, request, prompt, min(request.max_tokens, loaded.context - len(prompt))))
    return rows


def _written(loaded: Loaded, rows: Sequence[Row]) -> list[Written]:
    written: dict[int, Written] = {}
    for batch in cut_into_batches(rows, BATCH_TOKENS, loaded.max_rows):
        for row, wrote in zip(batch, write(loaded, batch, threading.Event(), _Finite()), strict=True):
            written[row.place] = wrote
    return [written[place] for place in range(len(rows))]


class _Finite:
    """Stops a model that has run off: from what is no number, nothing can be drawn."""

    def note(self, rows: Sequence[int], logits: torch.Tensor) -> None:
        if not torch.isfinite(logits).all():
            raise TrainingError(
                "the model in training assigns tokens a probability that is not a number; no model was kept. Lower "
                "training.grpo.learning_rate, and check that the starting model answers sensibly"
            )
