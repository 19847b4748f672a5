"""Offline DPO with TRL: pairs and a starting model in, a finished model directory out (method, "Pairs to a better model").

Training works in a hidden directory beside `out` and renames it at the very end, so that `out` exists only when it is whole:
weights in the starting model's precision, configuration, tokenizer, chat template and metrics.jsonl. An interrupted training
leaves its hidden directory, which the next one clears before it starts again.
"""

import contextlib
import gc
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import DPOTrainer

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import ModelRefused, TrainingError, UsageError
from pop_selfplay.records import PreferencePair
from pop_selfplay.training.dataset import Chosen, Limits, as_dataset, choose_pairs
from pop_selfplay.training.outcome import LogProbs, TrainingResult, TrainingStep, compare_held_out
from pop_selfplay.training.quiet import quiet_libraries
from pop_selfplay.training.settings import Settings
from pop_selfplay.training.watch import Watch, diverged_advice

METRICS: Final = "metrics.jsonl"
SMALL_MODEL: Final = 10_000_000
"""Parameters below which a model is trained on one CPU thread."""


def train_dpo(
    pairs: Sequence[PreferencePair],
    start: str,
    out: Path,
    config: DPOTraining,
    seed: int,
    observe: Callable[[TrainingStep], None] | None = None,
) -> TrainingResult:
    """Train the model at `start` (directory or hub name) on `pairs` and save it to `out`, which must not exist yet.

    The reference policy is the starting model itself. On a CPU the same pairs (in any order) and seed give the same weights bit
    for bit. `observe` is called after every logged step. Raises UsageError or ConfigError for a request that makes no sense,
    ModelRefused when `start` cannot be loaded, TrainingError when there is nothing to train on or the training diverges.
    """
    began = time.monotonic()
    if out.exists():
        raise UsageError(f"{out} exists already: remove it, or train into another directory")
    settings = Settings.of(config)
    tokenizer = load_tokenizer(start, settings)
    limits = Limits(settings.max_prompt_length, settings.max_length)
    chosen = choose_pairs(pairs, tokenizer, limits, config.held_out_share, seed)
    unfinished = cleared(out)
    watch = Watch(unfinished / METRICS, observe)
    with quiet_libraries(), threads_for(start, settings), _memory_given_back():
        trainer = make_trainer(chosen, start, tokenizer, settings, unfinished, seed)
        before = held_out_log_probs(trainer, watch.metrics)
        trainer.add_callback(watch)
        trainer.train()
        if not watch.losses:
            raise TrainingError("not one step was taken: raise training.dpo.num_train_epochs or training.dpo.max_steps")
        after = held_out_log_probs(trainer, watch.metrics)
        save(trainer, tokenizer, saved_dtype(start, settings), unfinished)
        beta, steps = trainer.args.beta, trainer.state.global_step
    publish(unfinished, out)
    return TrainingResult(
        pairs_trained=len(chosen.train),
        pairs_held_out=len(chosen.held_out),
        dropped=chosen.dropped,
        steps=steps,
        first_loss=watch.losses[0],
        last_loss=watch.losses[-1],
        held_out=compare_held_out(before, after, beta) if before and after else None,
        seconds=time.monotonic() - began,
        tokens=watch.tokens,
    )


def load_tokenizer(start: str, settings: Settings) -> Any:
    """Return the tokenizer of the starting model. Raises ModelRefused when there is none, or none with a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(start, **_where(settings))
    except (OSError, ValueError) as error:
        raise ModelRefused(f"cannot load a tokenizer from {start!r}: {error}") from error
    if tokenizer.chat_template is None:
        raise ModelRefused(
            f"the tokenizer of {start!r} has no chat template, so that its answers cannot be trained as conversations: "
            "save it with one (tokenizer.chat_template), the same that it answered with"
        )
    return tokenizer


@contextlib.contextmanager
def threads_for(start: str, settings: Settings) -> Iterator[None]:
    """Train a small model on one CPU thread, and put the number of threads back afterwards.

    Its matrices are too small to gain much from more (a third less time on two idle cores), while threads that wait for each
    other on busy cores cost up to fifteen times as much; and one thread gives the same bits on any number of cores.
    """
    try:
        config = AutoConfig.from_pretrained(start, **_where(settings))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=settings.fields.get("trust_remote_code", False))
    except (OSError, ValueError) as error:
        raise ModelRefused(f"cannot load the model to train from {start!r}: {error}") from error
    threads = torch.get_num_threads()
    if sum(weight.numel() for weight in model.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_trainer(chosen: Chosen, start: str, tokenizer: Any, settings: Settings, output: Path, seed: int) -> Any:
    """Return TRL's trainer, ready to train: model loaded, pairs tokenised, log-probabilities of the reference policy known."""
    config = settings.dpo_config(output, seed, chosen.longest)
    try:
        trainer = DPOTrainer(
            model=start,
            args=config,
            train_dataset=as_dataset(chosen.train),
            eval_dataset=as_dataset(chosen.held_out) if chosen.held_out else None,
            processing_class=tokenizer,
        )
    except OSError as error:
        raise ModelRefused(f"cannot load the model to train from {start!r}: {error}") from error
    except (ValueError, NotImplementedError) as error:
        raise TrainingError(f"TRL cannot train {start!r} with these settings: {error}") from error
    trainer.remove_callback(PrinterCallback)  # it prints every log entry when the progress bar is off
    return trainer


def held_out_log_probs(trainer: Any, metrics: Path) -> LogProbs | None:
    """Return the model's log-probabilities of the held-out answers, None without any.

    TRL's own evaluation averages over batches of unequal size, and has nothing to say before training. Raises TrainingError
    when one is no number: the model has diverged, or was broken from the start.
    """
    if trainer.eval_dataset is None:
        return None
    chosen, rejected = [], []
    for batch in trainer.get_eval_dataloader():
        log_probs = trainer.accelerator.gather_for_metrics(trainer.compute_ref_log_probs(trainer.model, batch))
        chosen += log_probs[0].tolist()
        rejected += log_probs[1].tolist()
    if not all(math.isfinite(log_prob) for log_prob in (*chosen, *rejected)):
        when = f"after {trainer.state.global_step} steps" if trainer.state.global_step else "before training"
        raise TrainingError(
            f"the model gives held-out answers a probability that is no number {when}: {diverged_advice(metrics)}"
        )
    return LogProbs(chosen, rejected)


def saved_dtype(start: str, settings: Settings) -> Any:
    """Return the precision of the starting model's weights, None where its config does not say."""
    return AutoConfig.from_pretrained(start, **_where(settings)).dtype


def save(trainer: Any, tokenizer: Any, dtype: Any, directory: Path) -> None:
    """Write model and tokenizer to `directory`, the weights as `dtype`. Raises TrainingError when a weight is no number.

    TRL trains in float32 unless told otherwise; saved so, the model would be twice the size of its start.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        advice = diverged_advice(directory / METRICS)
        raise TrainingError(f"{len(broken)} weights are no numbers after training ({broken[0]}, …): {advice}")
    model.to(dtype or model.dtype).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def cleared(out: Path) -> Path:
    """Return the empty hidden directory to work in, rid of what an interrupted training left there."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def publish(unfinished: Path, out: Path) -> None:
    """Give the finished directory its name, once all of it is on disk."""
    for path in (*(path for path in unfinished.rglob("*") if path.is_file()), unfinished):
        _flush(path)
    unfinished.rename(out)
    _flush(out.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _where(settings: Settings) -> dict[str, Any]:
    revision = (settings.fields.get("model_init_kwargs") or {}).get("revision")
    return {"trust_remote_code": settings.fields.get("trust_remote_code", False)} | ({"revision": revision} if revision else {})


@contextlib.contextmanager
def _memory_given_back() -> Iterator[None]:
    """The next phase loads a model of its own; trainers sit in reference cycles and keep theirs until collected.

    Raises TrainingError, with what to do, when there is too little memory on the GPU.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU has too little memory for this training: lower training.dpo.per_device_train_batch_size (down to 1) or "
            'training.dpo.max_length, or set training.dpo.model_init_kwargs to {dtype: "bfloat16"}, which halves the weights. '
            f"The GPU said: {error}"
        ) from error
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
