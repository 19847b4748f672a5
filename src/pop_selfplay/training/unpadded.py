"""Passes without padding: the sequences of a batch laid end to end in one row, and what comes out put back where it belongs.

TRL announces `padding_free` for DPO and does not have it at present. This wraps the model's forward instead, so that every loss
of TRL's works as it is: padded batches come in, the model computes real tokens only, and padded outputs go back. Position ids
that begin anew tell the attention where a sequence begins; FlashAttention then never looks across, and torch's own attention
gets a mask that says so, which costs memory with the square of the row and is only meant for tests and short sequences.
"""

import types
from typing import Any, Final

import torch

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
