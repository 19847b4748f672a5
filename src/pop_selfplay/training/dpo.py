"""Offline DPO with TRL, the paper's way: the best answer against the worst, and the reference policy is the starting model.

The paper's values stand in `PAPER`, what is ours and changes no result in `OURS`; `training.dpo` is laid over both.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from trl import DPOConfig, DPOTrainer

from pop_selfplay.config import Fields, RoleThinking
from pop_selfplay.records import PreferencePair, TrainingStep
from pop_selfplay.results.run import HeldOut, TrainingResult
from pop_selfplay.training import export
from pop_selfplay.training.callbacks import Logged
from pop_selfplay.training.checkpoints import as_good
from pop_selfplay.training.data import TokenPair, encode_pair
from pop_selfplay.training.offline import Offline
from pop_selfplay.training.offline_trainer import LogProbs, OwnPairs, compare_held_out, margins
from pop_selfplay.training.trl_config import DECIDED_ON_PAIRS, EVALUATED, Defaults

PAPER: Final[Fields] = {
    # method, "Pairs to a better model". Batch 16, 4 % held out and seed 42 are defaults in `config/`.
    "beta": 0.01,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,  # below 1 it is a share of all steps
    "num_train_epochs": 1,
    "optim": "adamw_torch_fused",
    "max_length": 6144,  # tokens of prompt and answer; longer pairs are dropped
    "max_prompt_length": 1024,  # no longer a field of TRL, so ours; longer prompts are dropped with their pair
    "activation_checkpointing": True,
    "loss_type": ["sigmoid"],
}

OURS: Final[Fields] = {
    **EVALUATED,
    "precompute_ref_log_probs": True,  # the reference model then needs no memory while training
}

OWNED: Final[dict[str, str]] = {
    **DECIDED_ON_PAIRS,
    "sync_ref_model": "the reference model is the starting model; one that moves would be in no checkpoint",
    "metric_for_best_model": "the best checkpoint is the one with most held-out pairs in order",
    "greater_is_better": "the best checkpoint is the one with most held-out pairs in order",
}


class PairTrainer(OwnPairs[LogProbs, HeldOut], DPOTrainer):  # type: ignore[misc]  # trl is untyped to us
    """TRL's DPOTrainer on our token ids. TRL's evaluation counts ties as losses; here they say nothing."""

    def held_out_log_probs(self) -> LogProbs | None:
        """Return the policy's log-probabilities of the held-out answers, None without any. Raises like `checked`."""
        columns = self.look()
        if columns is None:
            return None
        chosen, rejected = columns
        return self.checked(LogProbs(chosen, rejected), chosen + rejected)

    def measured(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        return tuple(self.answer_log_probs(batch, labels).chunk(2))

    def compare(self, before: LogProbs, after: LogProbs) -> HeldOut:
        return compare_held_out(before, after, self.beta)

    def gains(self, before: LogProbs, after: LogProbs) -> list[float]:
        return margins(before, after, self.beta)

    def metrics(self, figures: HeldOut) -> Mapping[str, float]:
        return {
            "rewards/accuracies": figures.reward_accuracy,
            "rewards/margins": figures.reward_margin,
            "likelier": figures.likelier_after,
        }

    def under_chance(self, figures: HeldOut, count: int) -> str:
        return f"only {figures.reward_accuracy:.0%} of {count} held-out pairs are in order"

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        self._unpad()  # TRL comes here while it is made: reference and policy are to be computed alike
        return super()._precompute_ref_logps(*args, **kwargs)


class DPO(Offline[TokenPair, HeldOut]):
    """`training.type: dpo`."""

    name = "DPO"
    data = "preference pairs"
    defaults = Defaults(DPOConfig, PAPER | OURS, export.LEARNING_RATE, OWNED, sequences=2)
    trainer = PairTrainer
    figures = HeldOut
    result = TrainingResult

    def encode(self, pair: PreferencePair, tokenizer: Any, thinking: RoleThinking) -> TokenPair:
        return encode_pair(pair, tokenizer, thinking)

    def step(self, logged: Logged) -> TrainingStep:
        return TrainingStep(
            logged.step,
            logged.steps,
            logged.loss,
            logged.figure("learning_rate"),
            logged.figure("rewards/accuracies"),
            logged.figure("rewards/margins"),
        )

    def starting_log_probs(self, trainer: PairTrainer) -> LogProbs | None:
        """Return the starting model's log-probabilities of the held-out answers, those that TRL has computed where it has."""
        # With ld_alpha TRL's own are not of whole answers.
        if trainer.eval_dataset is None or not trainer.precompute_ref_logps or trainer.ld_alpha is not None:
            return trainer.held_out_log_probs()
        known = trainer.eval_dataset
        chosen, rejected = list(known["ref_chosen_logps"]), list(known["ref_rejected_logps"])
        return trainer.checked(LogProbs(chosen, rejected), chosen + rejected)

    def as_good(self, quality: float, highest: float, pairs: int) -> bool:
        return as_good(quality, highest, pairs)
