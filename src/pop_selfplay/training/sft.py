"""Supervised fine-tuning with TRL on the chosen answer of each pair: rejection sampling, what DPO is compared with.

The data is that of DPO, so that both can be compared on the same pairs: one example per pair, its prompt and its better answer,
after the same drops. What was rejected has no part in it. Loss falls on the answer and its end, never on the prompt.

Not in the paper, so no value here is the paper's: each says where it comes from.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from trl import SFTConfig, SFTTrainer

from pop_selfplay.config import Fields, RoleThinking
from pop_selfplay.records import PreferencePair, SFTStep
from pop_selfplay.results.run import HeldOutAnswers, SFTResult
from pop_selfplay.training.callbacks import Logged
from pop_selfplay.training.data import TokenAnswer, encode_answer
from pop_selfplay.training.offline import Offline
from pop_selfplay.training.offline_trainer import AnswerLogProbs, OwnPairs, compare_answers, gains
from pop_selfplay.training.trl_config import DECIDED_ON_PAIRS, EVALUATED, Defaults

STARTS_FROM: Final[Fields] = {
    "learning_rate": 1e-5,  # half of TRL's: answers are the model's own, so there is little to learn of their form
    "lr_scheduler_type": "cosine",  # as the paper's DPO
    "warmup_steps": 0.1,  # as the paper's DPO; below 1 it is a share of all steps
    "num_train_epochs": 1,  # every answer once, as the paper's DPO sees every pair once
    "optim": "adamw_torch_fused",  # as the paper's DPO
    "max_length": 6144,  # as the paper's DPO; longer answers are dropped with their pair
    "max_prompt_length": 1024,  # as the paper's DPO; no field of TRL, so ours
    "activation_checkpointing": True,  # as the paper's DPO
    "loss_type": "nll",  # TRL's
}

OURS: Final[Fields] = EVALUATED

_TOKENS = "the prompt has the tokens that the model saw, and loss falls on the answer alone"
_BEST = "the best checkpoint is the one with the lowest loss on held-out answers"

OWNED: Final[dict[str, str]] = {
    **DECIDED_ON_PAIRS,
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "packing": "training.batch_size counts answers: set padding_free, which computes no padding either",
    "packing_strategy": "training.batch_size counts answers: set padding_free, which computes no padding either",
    "eval_packing": "every held-out answer is looked at by itself",
    "truncation_mode": "what is longer than max_length is dropped, never cut",
    "completion_only_loss": _TOKENS,
    "assistant_only_loss": _TOKENS,
    "chat_template_path": _TOKENS,
    "eos_token": _TOKENS,
    "dataset_text_field": "answers come as token ids",
    "dataset_kwargs": "answers come as token ids",
    "dataset_num_proc": "answers come as token ids",
    "shuffle_dataset": "every epoch has an order of its own already",
    "label_smoothing_factor": "held-out losses would not be those of training",
}


class AnswerTrainer(OwnPairs[AnswerLogProbs, HeldOutAnswers], SFTTrainer):  # type: ignore[misc]  # trl is untyped to us
    """TRL's SFTTrainer on our token ids."""

    def held_out_log_probs(self) -> AnswerLogProbs | None:
        """Return the policy's log-probabilities of the held-out answers, None without any. Raises like `checked`."""
        columns = self.look()
        if columns is None:
            return None
        log_probs, tokens = columns
        return self.checked(AnswerLogProbs(log_probs, [int(count) for count in tokens]), log_probs)

    def measured(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        labels = batch["labels"]
        return self.answer_log_probs(batch, labels), (labels != -100).sum(dim=1)

    def compare(self, before: AnswerLogProbs, after: AnswerLogProbs) -> HeldOutAnswers:
        return compare_answers(before, after)

    def gains(self, before: AnswerLogProbs, after: AnswerLogProbs) -> list[float]:
        return gains(before, after)

    def metrics(self, figures: HeldOutAnswers) -> Mapping[str, float]:
        return {"loss": figures.loss_after, "likelier": figures.likelier}

    def under_chance(self, figures: HeldOutAnswers, count: int) -> str:
        return f"only {figures.likelier:.0%} of {count} held-out answers became likelier"


class SFT(Offline[TokenAnswer, HeldOutAnswers]):
    """`training.type: sft`."""

    name = "SFT"
    data = "best answers"
    # Ten times that of all weights, as for DPO.
    defaults = Defaults(SFTConfig, STARTS_FROM | OURS, 1e-4, OWNED, sequences=1)
    trainer = AnswerTrainer
    figures = HeldOutAnswers
    result = SFTResult

    def encode(self, pair: PreferencePair, tokenizer: Any, thinking: RoleThinking) -> TokenAnswer:
        return encode_answer(pair, tokenizer, thinking)

    def step(self, logged: Logged) -> SFTStep:
        accuracy = logged.figure("mean_token_accuracy")
        return SFTStep(logged.step, logged.steps, logged.loss, logged.figure("learning_rate"), accuracy)
