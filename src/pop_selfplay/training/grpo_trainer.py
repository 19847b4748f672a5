"""TRL's GRPOTrainer for online RL: its settings, resuming a checkpoint to the very same end, the sampling of answers.

The paper trains offline only, so no value in `ONLINE` is the paper's: each says where it comes from, and a user's
`training.grpo` is laid over them. The solver's sampling (temperature, top_p, max_completion_length) is taken from
`synthesis.solver`, so that the model is trained as it answers.

`Rollout` samples from the model in training with the decoding loop that plays the roles (models/local/). TRL's own generation
knows no stop tag, so that a model would write on after its answer, and copies its cache at each step. Here an answer ends at
its closing tag as in synthesis. It then gets an end token that is not trained on (`env_mask` 0), by which TRL tells it from
one that was cut off. Every answer has a seed of its own, made of the run's seed, the step and its place in the batch: a
training that is resumed samples the same answers.
"""

import dataclasses
import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from pop_selfplay.config import Fields, GRPOTraining, Sampling, Thinking
from pop_selfplay.errors import ConfigError, RequestRefused, TrainingError
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.local import cut_into_batches, encode
from pop_selfplay.models.local.decoding import Written, write
from pop_selfplay.models.local.loading import Loaded, ready
from pop_selfplay.models.local.sampling import Row
from pop_selfplay.records import Message, Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import CLOSING_TAG
from pop_selfplay.training import export
from pop_selfplay.training.loading import has_bf16
from pop_selfplay.training.optimizer import keep_remainders
from pop_selfplay.training.trl_config import (
    DECIDED_BY_RUN,
    build,
    hub_of,
    known_fields,
    per_pass,
    require_numbers,
    require_reporters,
    under_its_names,
)

ONLINE: Final[Fields] = {
    "num_generations": 8,  # TRL's; DeepSeekMath used 64, with a reward that costs nothing
    "learning_rate": 1e-6,  # TRL's, and DeepSeekMath's
    "beta": 0.04,  # DeepSeekMath's: a judge can be gamed, a checker of answers cannot, so the model is kept near its start
    "loss_type": "dapo",  # TRL's: every token counts alike, so that long answers are not favoured
    "scale_rewards": "group",  # TRL's, and DeepSeekMath's
    "num_train_epochs": 1,  # every problem once, as the paper's DPO sees every pair once
    "lr_scheduler_type": "cosine",  # as the paper's DPO
    "warmup_steps": 0.1,  # as the paper's DPO; below 1 it is a share of all steps
    "optim": "adamw_torch_fused",  # as the paper's DPO
    "max_prompt_length": 1024,  # as the paper's DPO; no field of TRL, so ours: longer prompts are dropped with their problem
    "activation_checkpointing": True,  # as the paper's DPO
}

OURS: Final[Fields] = {
    # Nothing here changes what is learned: what is written where, and what can be seen.
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "steps",
    "save_steps": 0.2,  # below 1 it is a share of all steps
}

OWNED: Final[dict[str, str]] = {
    **DECIDED_BY_RUN,
    "sync_ref_model": "the reference model is the starting model; one that moves would be in no checkpoint",
    "auto_find_batch_size": "it would break up groups: set per_device_train_batch_size",
    "reward_weights": "the rubric is the only reward: set training.format_reward and training.length_penalty",
    "remove_unused_columns": "the rubric of an answer is found by the columns of its problem",
    "eval_strategy": "models are measured by the run: see measure",
    "load_best_model_at_end": "nothing is evaluated while training: the last model is the result",
    "push_to_hub": "upload models/round-N of the run yourself, when it was measured",
    "hub_model_id": "upload models/round-N of the run yourself, when it was measured",
}

MEMORY_ADVICE: Final = (
    "lower training.grpo.per_device_train_batch_size, training.grpo.num_generations or training.grpo.max_completion_length, or "
    "train less: training.lora, or training.grpo.beta 0, which both need no reference model"
)

TRLS_GENERATION: Final = (
    *("use_vllm", "use_transformers_continuous_batching", "generation_kwargs", "chat_template_kwargs", "cache_implementation"),
    *("top_k", "min_p", "repetition_penalty"),
)
"""Fields that only TRL's own generation knows: where one is set, it samples, and `Rollout` does not."""


@dataclasses.dataclass(frozen=True)
class OnlineSettings:
    """`training.grpo` over our values: fields of GRPOConfig, and the limit on prompts, in tokens, None for no limit.

    All of it is for one process: online RL has no other way to train.
    """

    fields: Fields
    max_prompt_length: int | None
    batch_size: int

    @classmethod
    def of_run(cls, training: GRPOTraining, solver: Sampling) -> "OnlineSettings":
        """Lay the user's fields over ours. Raises ConfigError for one that is unknown, or not to be set."""
        sampling = {"temperature": solver.temperature, "top_p": solver.top_p, "max_completion_length": solver.max_tokens}
        given = known_fields(training.grpo, GRPOConfig, where="training.grpo", beside=ONLINE, owned=OWNED)
        require_reporters(given.get("report_to") or [], "training.grpo")
        fields = {**sampling, **ONLINE, **OURS, **({"learning_rate": export.LEARNING_RATE} if training.lora else {}), **given}
        fields = under_its_names(fields, GRPOConfig)
        require_numbers(fields, ("temperature", "num_generations", "max_completion_length"), "training.grpo")
        require_numbers(fields, ("max_prompt_length", "per_device_train_batch_size"), "training.grpo", or_none=True)
        if fields["temperature"] <= 0:
            raise ConfigError(
                f"online RL learns from answers that differ: temperature {fields['temperature']} must be above 0 "
                "(synthesis.solver.temperature or training.grpo.temperature)"
            )
        use_cpu = bool(fields.get("use_cpu", False))
        fields.setdefault("bf16", not fields.get("fp16", False) and has_bf16(use_cpu))
        fields.setdefault("dataloader_pin_memory", torch.cuda.is_available())  # without a GPU it only makes torch warn
        dtype = "bfloat16" if fields["bf16"] else "float32"
        fields["model_init_kwargs"] = {"dtype": dtype} | dict(fields.get("model_init_kwargs") or {})
        return cls(fields, fields.pop("max_prompt_length"), training.batch_size)

    @property
    def hub(self) -> Fields:
        """How the starting model is found."""
        return hub_of(self.fields)

    @property
    def samples_itself(self) -> bool:
        """Whether answers are sampled by `Rollout`, and not by TRL."""
        return not any(self.fields.get(name) for name in TRLS_GENERATION)

    def require_a_step(self, problems: int) -> None:
        """Raise ConfigError unless `problems` are enough for one step: TRL leaves out what is less than a whole batch."""
        wanted = self.batch_size // max(1, self.fields["num_generations"])
        if problems < wanted:
            raise ConfigError(
                f"{problems} problems are fewer than the {wanted} of one step (training.batch_size {self.batch_size} answers, "
                f"training.grpo.num_generations {self.fields['num_generations']} to each): lower training.batch_size, or use "
                "more documents"
            )

    def grpo_config(self, output: Path, seed: int, longest_prompt: int) -> GRPOConfig:
        """Return TRL's config. `longest_prompt`, in tokens, sets how many answers fit into one pass.

        Raises ConfigError when a value is refused by TRL or the batch cannot be divided into groups and passes.
        """
        per_device, passes = self._division(longest_prompt)
        return build(
            GRPOConfig, self.fields, where="training.grpo", output=output, seed=seed, per_device=per_device, passes=passes
        )

    def _division(self, longest_prompt: int) -> tuple[int, int]:
        """Return answers per pass, and passes per optimiser step: together `batch_size`."""
        group = self.fields["num_generations"]
        if group < 2 or self.batch_size % group:
            raise ConfigError(
                f"training.batch_size {self.batch_size} must be a multiple of training.grpo.num_generations {group} "
                "(at least 2): a group of answers stays together"
            )
        given = self.fields.get("per_device_train_batch_size")
        if given is None:
            given = per_pass(self.batch_size, longest_prompt + self.fields["max_completion_length"])
        elif given < 1 or self.batch_size % given:
            raise ConfigError(
                f"training.grpo.per_device_train_batch_size {given} must divide the {self.batch_size} answers of a step "
                "(training.batch_size)"
            )
        return given, self.batch_size // given


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
