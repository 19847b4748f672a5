"""Our values for online RL, a user's `training.grpo` on top, and what is refused there.

The paper trains offline only, so no value here is the paper's: each says where it comes from. The solver's sampling
(temperature, top_p, max_completion_length) is taken from `synthesis.solver`, so that the model is trained as it answers.
"""

import dataclasses
from pathlib import Path
from typing import Final

import torch
from trl import GRPOConfig

from pop_selfplay.config import Fields, GRPOTraining, Sampling
from pop_selfplay.errors import ConfigError
from pop_selfplay.training import export
from pop_selfplay.training.loading import has_bf16
from pop_selfplay.training.trl_config import DECIDED_BY_RUN, build, hub_of, known_fields, per_pass, under_its_names

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
    "logging_first_step": True,
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
"""Fields that only TRL's own generation knows: where one is set, it samples, and `grpo_trainer.Rollout` does not."""


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
        fields = {**sampling, **ONLINE, **OURS, **({"learning_rate": export.LEARNING_RATE} if training.lora else {}), **given}
        fields = under_its_names(fields, GRPOConfig)
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
        """Whether answers are sampled by `grpo_trainer.Rollout`, and not by TRL."""
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
