"""Make the pocket model's weights from nothing: `python -m tools.pocket.pretrain`.

First a comparator alone (what was said, what is gold, the rating), because mixed in from the start it stays at chance. Then
articles and all four roles in one mix. Muon for matrices, AdamW for the rest; the learning rate is constant at first, then
falls to zero. A second, shorter cycle at half the rates goes on from there: the roles are learned first, what is printed about
each plant last. On a CPU several processes of one thread each, averaging their gradients, are much faster than one process
with as many threads.

The shipped weights are 30 minutes of two busy cores, both cycles together: about 3800 steps, 20 million tokens. A budget in
steps gives the same weights for the same seed and number of processes on one kind of machine; a budget in minutes does not,
because the schedule follows the clock.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from tools.pocket.batches import Batch, Feeder, Kind
from tools.pocket.check import check
from tools.pocket.generate import generator
from tools.pocket.muon import Muon
from tools.pocket.tokenizer import build_tokenizer
from torch import distributed, multiprocessing
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket.world import World

log = logging.getLogger(__name__)

COMPARATOR_ONLY: Final = {"comparison": Kind(64, 1.0)}
MIX: Final = {
    "article": Kind(40, 1.0),
    "solve": Kind(40, 1.0),
    "propose": Kind(20, 0.7),
    "rubric": Kind(16, 0.7),
    "rate": Kind(20, 0.7),
    "comparison": Kind(3, 0.4),
}
SECOND_CYCLE: Final = 0.36
"""Length of the second cycle, as a share of the first."""
MALLOC_SETTINGS: Final = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "500000000",
    "OMP_NUM_THREADS": "1",
}
"""Keep freed memory: small tensors of ever new shapes otherwise spend much of the time in the kernel."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. The budget is `minutes` of time, or `steps` where given."""

    seed: int = 0
    minutes: float = 22.0
    steps: int | None = None
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 512
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    warm_up_steps: int = 100
    comparator_share: float = 0.06
    constant_share: float = 0.5
    batch_tokens: int = 2600
    log_every: int = 100
    gates_every_minutes: float = 4.0
    gate_cases: int = 60

    def second_cycle(self) -> "Recipe":
        """Return the recipe that goes on from the finished weights: a third of the time, half the learning rates, other data.

        What the plants are like is learned last, long after the roles, and this is where most of it comes.
        """
        return replace(
            self,
            seed=self.seed + 1,
            minutes=self.minutes * SECOND_CYCLE,
            steps=None if self.steps is None else max(1, round(self.steps * SECOND_CYCLE)),
            matrix_lr=self.matrix_lr / 2,
            other_lr=self.other_lr / 2,
            comparator_share=0.0,
            constant_share=0.25,
        )

    def lr_factor(self, progress: float, step: int) -> float:
        """Return the learning rate's factor at `progress` in [0, 1): warm up, stay, fall to zero."""
        falling = (1 - progress) / (1 - self.constant_share)
        return min(1.0, (step + 1) / self.warm_up_steps, falling)


class Trainer:
    """One process of a training run."""

    def __init__(self, recipe: Recipe, out: Path, rank: int, processes: int, start: Path | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.rank, self.processes = recipe, out, rank, processes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = build_tokenizer(World())
        model = new_model(recipe, self.tokenizer) if start is None else LlamaForCausalLM.from_pretrained(start)
        self.model: Any = model.to(self.device).train()
        self.feeder = Feeder(World(), self.tokenizer, recipe.seed * 1000 + rank)
        matrices = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in name]
        chosen = {id(matrix) for matrix in matrices}
        rest = [p for p in self.model.parameters() if id(p) not in chosen]
        self.muon = Muon(matrices, recipe.matrix_lr)
        self.adam = torch.optim.AdamW(rest, lr=recipe.other_lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.started = time.monotonic()
        self.steps = self.tokens = 0

    def run(self) -> None:
        """Train until the budget is used up. Now and then, and at the end, log the gates and save the model."""
        losses: list[float] = []
        next_gates = self.recipe.gates_every_minutes
        while (progress := self._progress()) < 1:
            factor = self.recipe.lr_factor(progress, self.steps)
            losses.append(self.step(COMPARATOR_ONLY if progress < self.recipe.comparator_share else MIX, factor))
            if self.rank == 0 and self.steps % self.recipe.log_every == 0:
                self._log_loss(factor, sum(losses) / len(losses))
                losses.clear()
            if self.rank == 0 and self._seconds() > 60 * next_gates:
                next_gates += self.recipe.gates_every_minutes
                self.take_stock()
        if self.rank == 0:
            self.take_stock()

    def take_stock(self) -> None:
        """Save the model, and log every gate as free-running: teacher-forced figures hide a broken format."""
        self.model.save_pretrained(self.out)
        self.tokenizer.save_pretrained(self.out)
        if self.recipe.gate_cases:
            for gate in check(generator(self.model, self.tokenizer), self.recipe.gate_cases):
                log.info("    %-32s %.3f  n=%d%s", gate.name, gate.value, gate.n, "" if gate.passed else "  MISSED")

    def step(self, mix: Mapping[str, Kind], factor: float) -> float:
        """Do one optimiser step and return its loss."""
        share = {kind: Kind(max(1, k.per_step // self.processes), k.weight) for kind, k in mix.items()}
        total = 0.0
        for batch in self.feeder.step(share, self.recipe.batch_tokens):
            loss = self._loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            self.tokens += batch.tokens
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.lr = self.recipe.matrix_lr * factor
        self.adam.param_groups[0]["lr"] = self.recipe.other_lr * factor
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.steps += 1
        return total

    def _loss(self, batch: Batch) -> torch.Tensor:
        ids, weights = batch.ids.to(self.device), batch.weights[:, 1:].to(self.device)
        targets = weights > 0  # the head runs only where a target counts; padding is on the right, so no mask is needed
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][targets]
        losses = functional.cross_entropy(self.model.lm_head(hidden), ids[:, 1:][targets], reduction="none")
        return (losses * weights[targets]).sum()

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _log_loss(self, factor: float, loss: float) -> None:
        tokens = self.processes * self.tokens
        template = "step %d, %.0f s, %d tokens, %.0f tokens/s, lr x%.2f, loss %.4f"
        log.info(template, self.steps, self._seconds(), tokens, tokens / self._seconds(), factor, loss)

    def _progress(self) -> float:
        if self.recipe.steps is not None:
            return self.steps / self.recipe.steps
        progress = torch.tensor([self._seconds() / (60 * self.recipe.minutes)])
        if self.processes > 1:
            distributed.all_reduce(progress, op=distributed.ReduceOp.MAX)
        return progress.item()

    def _average_gradients(self) -> None:
        if self.processes == 1:
            return
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat / self.processes, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def new_model(recipe: Recipe, tokenizer: Any) -> Any:
    """Return an untrained Llama of the recipe's size."""
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 16) * 16,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train(recipe: Recipe, out: Path, processes: int = 1) -> None:
    """Train both cycles of `recipe` and write an ordinary model directory to `out`."""
    train_cycle(recipe, out, processes)
    train_cycle(recipe.second_cycle(), out, processes, start=out)


def train_cycle(recipe: Recipe, out: Path, processes: int, start: Path | None = None) -> None:
    """Train one cycle, from nothing or from the weights at `start`, and write the model to `out`."""
    if processes == 1:
        _work(0, recipe, out, 1, start)
        return
    os.environ.update(MALLOC_SETTINGS)  # read by the C library when the processes start
    with tempfile.TemporaryDirectory() as folder:
        args = (recipe, out, processes, start, f"file://{folder}/meeting")
        multiprocessing.spawn(_work, args=args, nprocs=processes)  # type: ignore[attr-defined, no-untyped-call]


def _work(rank: int, recipe: Recipe, out: Path, processes: int, start: Path | None, meeting: str = "") -> None:
    if processes > 1:
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    Trainer(recipe, out, rank, processes, start).run()
    if processes > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=POCKET_WEIGHTS)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--steps", type=int, default=None, help="a budget in optimiser steps instead of minutes")
    parser.add_argument(
        "--gate-cases", type=int, default=Recipe.gate_cases, help="fresh cases per gate for the log; 0: no gates"
    )
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    recipe = Recipe(seed=options.seed, minutes=options.minutes, steps=options.steps, gate_cases=options.gate_cases)
    train(recipe, options.out, options.processes)


if __name__ == "__main__":
    main()
