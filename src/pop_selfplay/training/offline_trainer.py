"""What our trainers on pairs change in TRL's: token ids, held-out figures, optimiser, LoRA dropout, passes without padding.

- Pairs come as token ids (data.py), so nothing is tokenised.
- TRL's evaluation averages over batches of unequal size; ours looks at every held-out pair, before training and after, and
  `compare_held_out` (DPO) and `compare_answers` (SFT) say what came of it. The figures themselves are in results/run.py.
- Weights in bf16 are trained by an optimiser that keeps what bf16 cannot hold (optimizer.py).
- TRL's DPO switches every dropout off, LoRA's own, too; that one is what the user asked for.
- Passes without padding: the sequences of a batch are laid end to end in one row, and what comes out is put back where it
  belongs. TRL announces `padding_free` for DPO and does not have it at present. This wraps the model's forward instead, so that
  every loss of TRL's works as it is: padded batches come in, the model computes real tokens only, and padded outputs go back.
  Position ids that begin anew tell the attention where a sequence begins; FlashAttention then never looks across, and torch's
  own attention gets a mask that says so, which costs memory with the square of the row and is only meant for tests and short
  sequences.

A trainer of TRL's for which this is wanted is subclassed together with `OwnPairs`. Of TRL 1.16 these privates are overridden or
used, which is why pyproject.toml caps it: `_prepare_dataset`, `_precompute_ref_logps`, `_total_train_tokens`, the fused head's
outputs; of GRPOTrainer `_get_train_sampler`.
"""

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import Trainer

from pop_selfplay.errors import TrainingError
from pop_selfplay.results.run import H, HeldOut, HeldOutAnswers
from pop_selfplay.training.callbacks import under_chance
from pop_selfplay.training.optimizer import keep_remainders


class LogProbs(NamedTuple):
    """Log-probabilities of whole answers given their prompts, one entry per pair, in the same order in both."""

    chosen: Sequence[float]
    rejected: Sequence[float]


class AnswerLogProbs(NamedTuple):
    """Log-probabilities of whole answers given their prompts, and how many tokens each has, in the same order in both."""

    log_probs: Sequence[float]
    tokens: Sequence[int]


def compare_held_out(before: LogProbs, after: LogProbs, beta: float) -> HeldOut:
    """Return the figures of the held-out pairs (at least one). `beta` is DPO's β: rewards are β·(after − before)."""
    rewards = margins(before, after, beta)
    return HeldOut(
        likelier_before=_share(chosen > rejected for chosen, rejected in zip(*before, strict=True)),
        likelier_after=_share(chosen > rejected for chosen, rejected in zip(*after, strict=True)),
        reward_accuracy=_share(margin > 0 for margin in rewards),
        reward_margin=sum(rewards) / len(rewards),
    )


def margins(before: LogProbs, after: LogProbs, beta: float) -> list[float]:
    """Return the reward of the chosen answer minus that of the rejected one, per pair."""
    return [
        beta * ((chosen - old_chosen) - (rejected - old_rejected))
        for chosen, rejected, old_chosen, old_rejected in zip(*after, *before, strict=True)
    ]


def compare_answers(before: AnswerLogProbs, after: AnswerLogProbs) -> HeldOutAnswers:
    """Return the figures of the held-out answers (at least one)."""
    tokens = sum(before.tokens)
    return HeldOutAnswers(
        loss_before=-sum(before.log_probs) / tokens,
        loss_after=-sum(after.log_probs) / tokens,
        likelier=_share(gain > 0 for gain in gains(before, after)),
    )


def gains(before: AnswerLogProbs, after: AnswerLogProbs) -> list[float]:
    """Return how much log-probability each answer gained."""
    return [new - old for new, old in zip(after.log_probs, before.log_probs, strict=True)]


def _share(outcomes: Iterable[bool]) -> float:
    counted = list(outcomes)
    return sum(counted) / len(counted)


L = TypeVar("L", LogProbs, AnswerLogProbs)


class OwnPairs(Generic[L, H]):
    """To be mixed into a trainer of TRL's. `before` holds what the starting model makes of the held-out pairs, if any.

    `after` is the same of the last evaluation, after step `evaluated_at`. `advice` ends every error that stops a training.
    """

    advice: str = ""
    before: L | None = None
    after: L | None = None
    evaluated_at: int | None = None

    args: Any
    model: Any
    state: Any
    accelerator: Any
    eval_dataset: Any
    data_collator: Any
    callback_handler: Any
    control: Any
    _prepare_inputs: Any
    compute_loss_context_manager: Any
    model_wrapped: Any

    def __init__(self, *args: Any, lora_dropout: float = 0.0, padding_free: bool = False, **kwargs: Any) -> None:
        self._to_unpad = padding_free
        super().__init__(*args, **kwargs)
        self._unpad()
        for name, module in self.model.named_modules():
            if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
                module.p = lora_dropout
        keep_remainders(self)

    # What a trainer says about its held-out pairs.

    def held_out_log_probs(self) -> L | None:
        """Return what the policy makes of the held-out pairs, None without any. Raises TrainingError like `checked`."""
        raise NotImplementedError

    def compare(self, before: L, after: L) -> H:
        """Return the figures of the held-out pairs."""
        raise NotImplementedError

    def gains(self, before: L, after: L) -> list[float]:
        """Return for each pair a number above 0 where training went the right way."""
        raise NotImplementedError

    def metrics(self, figures: H) -> Mapping[str, float]:
        """Return `figures` as they are logged, without a prefix."""
        raise NotImplementedError

    def under_chance(self, figures: H, count: int) -> str:
        """Say what it means that of `count` held-out pairs too few go the right way."""
        raise NotImplementedError

    # What all have in common.

    def resume_from(self, tokens: int) -> None:
        """Count on from `tokens`, those trained on before an interruption; TRL would begin at 0."""
        self._total_train_tokens = tokens

    @property
    def tokens_trained(self) -> int:
        """All tokens trained on, those before an interruption included."""
        return int(self._total_train_tokens)

    def look(self) -> list[list[float]] | None:
        """Return the columns of `measured` over all held-out pairs, None without any; the model is left as it was."""
        if self.eval_dataset is None:
            return None
        rows: list[tuple[float, ...]] = []
        training = self.model.training
        self.model.eval()
        batch_size = self.args.per_device_eval_batch_size
        batches = DataLoader(self.eval_dataset, batch_size=batch_size, collate_fn=self.data_collator)  # never drops the last
        for batch in self.accelerator.prepare(batches):
            columns = self.accelerator.gather_for_metrics(self.measured(self._prepare_inputs(batch)))
            rows += zip(*(column.tolist() for column in columns), strict=True)
        self.model.train(training)
        return [list(column) for column in zip(*rows, strict=True)]

    def measured(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Return what `look` gathers: columns with one number per pair of the batch."""
        raise NotImplementedError

    def answer_log_probs(self, batch: Mapping[str, Any], labels: torch.Tensor) -> torch.Tensor:
        """Return the log-probability of each row's answer (rows,); `labels` is −100 off the answer."""
        with torch.no_grad(), self.compute_loss_context_manager():
            output = self.model_wrapped(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
                labels=labels,
                fused_lm_head=True,
            )
        log_probs: torch.Tensor = output.log_probs.float().sum(dim=1)
        return log_probs

    def checked(self, found: L, log_probs: Sequence[float]) -> L:
        """Return `found`. Raises TrainingError when a log-probability is no number: the model diverged, or was broken."""
        if not all(math.isfinite(log_prob) for log_prob in log_probs):
            when = f"after {self.state.global_step} steps" if self.state.global_step else "before training"
            raise TrainingError(f"the model assigns held-out answers a probability that is not a number {when}: {self.advice}")
        return found

    def held_out(self) -> H | None:
        """Return the figures of the last evaluation, None without held-out pairs."""
        if self.before is None or self.after is None:
            return None
        return self.compare(self.before, self.after)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Log the figures of the held-out pairs and return them under TRL's names."""
        self.after, self.evaluated_at = self.held_out_log_probs(), self.state.global_step
        figures = self.held_out()
        assert self.before is not None and self.after is not None and figures is not None
        gained = self.gains(self.before, self.after)
        if under_chance(gained):
            raise TrainingError(
                f"after {self.state.global_step} steps {self.under_chance(figures, len(gained))}, fewer than by "
                f"chance: {self.advice}"
            )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.metrics(figures).items()}
        Trainer.log(self, dict(metrics))  # TRL's would add the training metrics gathered so far
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _unpad(self) -> None:
        if self._to_unpad:
            self._to_unpad = False
            without_padding(self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # token ids already

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL would with every checkpoint, and ours is written at the end (export.py)."""


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
