"""TRL's DPOTrainer, with five things changed: our token ids, held-out figures, optimiser, passes without padding, LoRA dropout.

- Pairs come as token ids (tokens.py), so it tokenises nothing.
- TRL's evaluation averages over batches of unequal size and counts ties as losses; ours looks at every held-out pair.
- Weights in bf16 are trained by an optimiser that keeps what bf16 cannot hold (adamw.py).
- Passes without padding (unpadded.py), which TRL's setting of that name does not do at present.
- TRL switches every dropout off, LoRA's own, too; that one is what the user asked for.

Passes without padding: the sequences of a batch laid end to end in one row, and what comes out put back where it belongs.

TRL announces `padding_free` for DPO and does not have it at present. This wraps the model's forward instead, so that every loss
of TRL's works as it is: padded batches come in, the model computes real tokens only, and padded outputs go back. Position ids
that begin anew tell the attention where a sequence begins; FlashAttention then never looks across, and torch's own attention
gets a mask that says so, which costs memory with the square of the row and is only meant for tests and short sequences.
"""

import math
import types
from typing import Any, Final

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import Trainer
from trl import DPOTrainer

from pop_selfplay.errors import TrainingError
from pop_selfplay.results.training import HeldOut
from pop_selfplay.training.callbacks import under_chance
from pop_selfplay.training.optimizer import keep_remainders
from pop_selfplay.training.results import LogProbs, compare_held_out, margins


class PairTrainer(DPOTrainer):  # type: ignore[misc]  # trl is untyped to us
    """Made by `dpo.make_trainer`. `before` are the starting model's log-probabilities of the held-out answers, if any.

    `after` are those of the last evaluation, after step `evaluated_at`. `advice` ends the message of every error that stops it.
    """

    advice: str = ""
    before: LogProbs | None = None
    after: LogProbs | None = None
    evaluated_at: int | None = None

    def __init__(self, *args: Any, lora_dropout: float = 0.0, padding_free: bool = False, **kwargs: Any) -> None:
        self._to_unpad = padding_free
        super().__init__(*args, **kwargs)
        self._unpad()
        for name, module in self.model.named_modules():
            if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
                module.p = lora_dropout
        keep_remainders(self)

    def go_on_from(self, tokens: int) -> None:
        """Count on from `tokens`, those trained on before an interruption; TRL would begin at 0."""
        self._total_train_tokens = tokens

    def held_out_log_probs(self) -> LogProbs | None:
        """Return the policy's log-probabilities of the held-out answers, None without any.

        Raises TrainingError like `checked`.
        """
        if self.eval_dataset is None:
            return None
        chosen, rejected = list[float](), list[float]()
        training = self.model.training
        self.model.eval()
        batch_size = self.args.per_device_eval_batch_size
        batches = DataLoader(self.eval_dataset, batch_size=batch_size, collate_fn=self.data_collator)  # never drops the last
        for batch in self.accelerator.prepare(batches):
            log_probs = self.accelerator.gather_for_metrics(self._log_probs(self._prepare_inputs(batch)))
            chosen += log_probs[0].tolist()
            rejected += log_probs[1].tolist()
        self.model.train(training)
        return self.checked(LogProbs(chosen, rejected))

    def checked(self, log_probs: LogProbs) -> LogProbs:
        """Return `log_probs`. Raises TrainingError when one is no number: the model diverged, or was broken from the start."""
        if not all(math.isfinite(log_prob) for log_prob in (*log_probs.chosen, *log_probs.rejected)):
            when = f"after {self.state.global_step} steps" if self.state.global_step else "before training"
            raise TrainingError(f"the model gives held-out answers a probability that is no number {when}: {self.advice}")
        return log_probs

    def held_out(self) -> HeldOut | None:
        """Return the figures of the last evaluation, None without held-out pairs."""
        if self.before is None or self.after is None:
            return None
        return compare_held_out(self.before, self.after, self.beta)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Log the figures of the held-out pairs and return them under TRL's names."""
        self.after, self.evaluated_at = self.held_out_log_probs(), self.state.global_step
        figures = self.held_out()
        assert self.before is not None and self.after is not None and figures is not None
        if under_chance(margins(self.before, self.after, self.beta)):
            raise TrainingError(
                f"after {self.state.global_step} steps only {figures.reward_accuracy:.0%} of {len(self.after.chosen)} held-out "
                f"pairs are in order, fewer than chance would leave: {self.advice}"
            )
        metrics = {
            f"{metric_key_prefix}_rewards/accuracies": figures.reward_accuracy,
            f"{metric_key_prefix}_rewards/margins": figures.reward_margin,
            f"{metric_key_prefix}_likelier": figures.likelier_after,
        }
        Trainer.log(self, dict(metrics))  # TRL's would add the training metrics gathered so far
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _log_probs(self, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        with torch.no_grad(), self.compute_loss_context_manager():
            output = self.model_wrapped(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
                labels=labels,
                fused_lm_head=True,
            )
        return tuple(output.log_probs.float().sum(dim=1).chunk(2))

    def _unpad(self) -> None:
        if self._to_unpad:
            self._to_unpad = False
            without_padding(self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model)

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        self._unpad()  # TRL comes here while it is made: reference and policy are to be computed alike
        return super()._precompute_ref_logps(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # token ids already

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL would with every checkpoint, and ours is written at the end (card.py)."""


PER_TOKEN: Final = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
"""What TRL's fused head returns for every token but the first of a sequence."""


def without_padding(model: Any) -> None:
    """Let `model`, to which TRL has added its fused head, compute no padding when it is asked through that head."""
    forward = model.forward

    def unpadded(
        self: Any,
        *args: Any,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        fused_lm_head: bool = False,
        **kwargs: Any,  # whatever the architecture takes besides
    ) -> Any:
        if not fused_lm_head or input_ids is None or attention_mask is None or labels is None:
            given = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
            given = {name: value for name, value in given.items() if value is not None}
            return forward(*args, **given, **({"fused_lm_head": True} if fused_lm_head else {}), **kwargs)
        real = attention_mask.bool()
        positions = (real.cumsum(dim=1) - 1)[real]
        output = forward(
            *args,
            input_ids=input_ids[real][None],
            position_ids=positions[None],
            labels=labels.masked_fill(real.cumsum(dim=1) == 1, -100)[real][None],  # nothing comes before a first token
            fused_lm_head=True,
            **kwargs,
        )
        for name in PER_TOKEN:
            values = output.get(name)
            if values is not None:
                output[name] = _put_back(values[0], positions, real)
        return output

    model.forward = types.MethodType(unpadded, model)


def _put_back(values: torch.Tensor, positions: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return `values`, one for each token of the row but the first, as a padded batch (rows, longest - 1), zeros elsewhere."""
    padded = values.new_zeros(real.shape[0], real.shape[1] - 1)
    return padded.masked_scatter(real[:, 1:], values[positions[1:] > 0])
