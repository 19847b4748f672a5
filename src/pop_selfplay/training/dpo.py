"""Offline DPO with TRL: pairs and a starting model in, a finished model directory out (method, "Pairs to a better model").

Training works in a hidden directory beside `out` and gives it that name at the very end, so that `out` exists only when it is
whole: weights in the starting model's precision, configuration, tokenizer, chat template, model card and metrics.jsonl. An
interrupted training leaves its hidden directory, and the next one for the same request goes on from its last checkpoint.

Train another model on the pairs of a run, with other settings: for sweeps, without another synthesis.

The run itself stays as it is: nothing is written to it, and it may be finished. The new model goes to a directory of its own.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PrinterCallback

from pop_selfplay.config import DPOTraining, load_config
from pop_selfplay.errors import ModelRefused, TrainingError, UsageError
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.pairs import read_pairs
from pop_selfplay.records import PreferencePair, TrainingStep
from pop_selfplay.results.training import HeldOut, TrainingResult
from pop_selfplay.runs.casting import weights_of
from pop_selfplay.runs.session import Session, read_session
from pop_selfplay.training import distributed
from pop_selfplay.training.callbacks import Watch, diverged_advice
from pop_selfplay.training.checkpoints import (
    LAST,
    METRICS,
    KeepBest,
    SealCheckpoints,
    best_folder,
    last_checkpoint,
    publish,
    read_best,
    step_of,
    take_up,
    unfinished_directory,
)
from pop_selfplay.training.data import Chosen, Limits, choose_pairs, on_disk
from pop_selfplay.training.dpo_config import MEMORY_ADVICE, Settings
from pop_selfplay.training.dpo_trainer import PairTrainer
from pop_selfplay.training.export import Facts, Origin, finish, origin_of, peft_config, push, save_weights
from pop_selfplay.training.loading import four_bits, load_model_config, load_tokenizer, memory_given_back, threads_for
from pop_selfplay.training.results import LogProbs
from pop_selfplay.training.trl_config import quiet_libraries


class Job(NamedTuple):
    """What is to be trained: all that another process of the same training must know."""

    pairs: Sequence[PreferencePair]
    start: str
    out: Path
    config: DPOTraining
    seed: int
    origin: Origin | None


class Trained(NamedTuple):
    """Where the weights to keep lie, the step they were taken after (None: the last of the `steps`), and their figures."""

    weights: Path
    best_step: int | None
    steps: int
    held_out: HeldOut | None


def train_dpo(
    pairs: Sequence[PreferencePair],
    start: str,
    out: Path,
    config: DPOTraining,
    seed: int,
    observe: Callable[[TrainingStep], None] | None = None,
    *,
    origin: Origin | None = None,
) -> TrainingResult:
    """Train the model at `start` (directory or hub name) on `pairs` and save it to `out`, which must not exist yet.

    The reference policy is the starting model itself. On a CPU the same pairs (in any order) and seed give the same weights bit
    for bit, however often the training was interrupted. `observe` is called after every logged step; `origin` goes into the
    model card. Raises UsageError or ConfigError for a request that makes no sense, ModelRefused when `start` cannot be loaded,
    TrainingError when there is nothing to train on or the training diverges.
    """
    if out.exists():
        raise UsageError(f"{out} exists already: remove it, or train into another directory")
    job = Job(pairs, start, out, config, seed, origin)
    distributed.tell(job)
    return run(job, observe)


def train_along() -> None:
    """Take part, as any process but the first, in the training that the first one begins; return when it has nothing to do."""
    job = distributed.hear()
    if job is not None:
        run(job, None)


def run(job: Job, observe: Callable[[TrainingStep], None] | None) -> TrainingResult:
    """Train, in every process of a training alike; only the first one writes."""
    began = time.monotonic()
    settings = Settings.of(job.config)
    tokenizer = load_tokenizer(job.start, settings.hub)
    limits = Limits(settings.max_prompt_length, settings.max_length)
    chosen = choose_pairs(job.pairs, tokenizer, limits, job.config.held_out_share, job.seed)
    directory = _directory(job, chosen)
    watch = Watch(directory / METRICS, observe, writes=distributed.is_first())
    with quiet_libraries():
        with threads_for(job.start, settings.hub), memory_given_back(MEMORY_ADVICE):
            trained = _train(chosen, job, tokenizer, settings, watch)
        # The trainer is gone: merging loads the starting model once more.
        result = TrainingResult(
            pairs_trained=len(chosen.train),
            pairs_held_out=len(chosen.held_out),
            dropped=chosen.dropped,
            steps=trained.steps,
            best_step=trained.best_step,
            first_loss=watch.losses[0],
            last_loss=watch.losses[-1],
            held_out=trained.held_out,
            seconds=time.monotonic() - began,
            tokens=watch.tokens,
        )
        if distributed.is_first():
            finished = finish(trained.weights, job.config.lora, tokenizer, settings.hub, _facts(job, result))
            publish(directory, finished, job.out)
            if job.config.push_to_hub is not None:
                push(job.out, job.config.push_to_hub)
    distributed.barrier()
    return result


def make_trainer(chosen: Chosen, job: Job, tokenizer: Any, settings: Settings, directory: Path) -> PairTrainer:
    """Return the trainer, ready to train: model loaded, pairs on disk, log-probabilities of the reference policy known."""
    config = settings.dpo_config(directory, job.seed, chosen.longest, evaluated=bool(chosen.held_out))
    if config.run_name is None:  # the same name after an interruption, so that a tracker goes on with the same run
        config.run_name = "/".join(job.out.absolute().parts[-3:]).replace("/models/", "/")
    parts = {name: pairs for name, pairs in [("train", chosen.train), ("held_out", chosen.held_out)] if pairs}
    if distributed.is_first():
        for name, pairs in parts.items():
            on_disk(pairs, directory / "pairs" / name)
    distributed.barrier()
    data = {name: on_disk(pairs, directory / "pairs" / name) for name, pairs in parts.items()}
    lora = job.config.lora
    try:
        trainer = PairTrainer(
            model=job.start,
            args=config,
            train_dataset=data["train"],
            eval_dataset=data.get("held_out"),
            processing_class=tokenizer,
            quantization_config=four_bits(settings.use_cpu) if job.config.quantization else None,
            peft_config=peft_config(lora),
            padding_free=settings.padding_free,
            lora_dropout=lora.dropout if lora else 0.0,
        )
    except OSError as error:
        raise ModelRefused(f"cannot load the model to train from {job.start!r}: {error}") from error
    except (ValueError, NotImplementedError) as error:
        raise TrainingError(f"TRL cannot train {job.start!r} with these settings: {error}") from error
    trainer.advice = diverged_advice(directory / METRICS)
    trainer.remove_callback(PrinterCallback)  # it prints every log entry when the progress bar is off
    return trainer


def starting_log_probs(trainer: PairTrainer) -> LogProbs | None:
    """Return the starting model's log-probabilities of the held-out answers, None without any; before training only."""
    # With ld_alpha TRL's own are not of whole answers.
    if trainer.eval_dataset is None or not trainer.precompute_ref_logps or trainer.ld_alpha is not None:
        return trainer.held_out_log_probs()
    known = trainer.eval_dataset
    return trainer.checked(LogProbs(list(known["ref_chosen_logps"]), list(known["ref_rejected_logps"])))


def _directory(job: Job, chosen: Chosen) -> Path:
    """Return the directory to work in, the same for every process."""
    if distributed.is_first():
        request = {
            "start": job.start,
            "config": job.config.model_dump(mode="json"),
            "seed": job.seed,
            "processes": distributed.count(),
            "pairs": [chosen.train, chosen.held_out],
        }
        take_up(job.out, request)
    distributed.barrier()
    return unfinished_directory(job.out)


def _train(chosen: Chosen, job: Job, tokenizer: Any, settings: Settings, watch: Watch) -> Trained:
    """Train to the end, from the last checkpoint if there is one."""
    directory = watch.metrics.parent
    trainer = make_trainer(chosen, job, tokenizer, settings, directory)
    trainer.before = starting_log_probs(trainer)
    dtype = load_model_config(job.start, settings.hub).dtype

    def save(folder: Path) -> None:
        save_weights(trainer, folder, dtype, trainer.advice)

    checkpoint = last_checkpoint(directory)
    watch.go_on_after(step_of(checkpoint) if checkpoint else 0)
    trainer.go_on_from(watch.tokens)
    trainer.add_callback(watch)
    trainer.add_callback(SealCheckpoints())
    if job.config.keep_best and trainer.eval_dataset is not None:
        trainer.add_callback(KeepBest(directory, len(trainer.eval_dataset), save, trainer.held_out))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not watch.losses:
        raise TrainingError("not one step was taken: raise training.dpo.num_train_epochs or training.dpo.max_steps")
    steps: int = trainer.state.global_step
    best = read_best(directory) if job.config.keep_best else None
    if best is not None:
        return Trained(best_folder(directory, best.step), best.step, steps, best.held_out)
    if trainer.evaluated_at != steps:
        trainer.after = trainer.held_out_log_probs()
    save(directory / LAST)
    return Trained(directory / LAST, None, steps, trainer.held_out())


def _facts(job: Job, result: TrainingResult) -> Facts:
    """Return what the model card tells."""
    figures: dict[str, Any] = {"pairs held out": result.pairs_held_out, "steps": result.steps, "tokens": result.tokens}
    figures |= {"first loss": result.first_loss, "last loss": result.last_loss}
    figures |= {} if result.held_out is None else result.held_out.model_dump()
    method, data = "LoRA DPO" if job.config.lora else "DPO", f"{result.pairs_trained:,} preference pairs"
    return Facts(job.start, method, data, job.config.model_dump(mode="json"), figures, job.origin)


def train_again(
    run: Path,
    out: Path,
    round_: int = 1,
    overrides: Sequence[str] = (),
    observe: Callable[[TrainingStep], None] | None = None,
) -> TrainingResult:
    """Train the policy of `round_` on that round's pairs in the run directory `run`, and save it to `out`.

    `overrides` are `a.b=value` settings, of the training and the seed only. Raises ConfigError when `run` is no run, UsageError
    when another setting is changed, the round has no policy yet or the training is not offline DPO, and whatever `train_dpo`
    raises.
    """
    directory = RunDirectory.open(run)
    if round_ > 1 and not directory.model_path(round_ - 1).is_dir():
        raise UsageError(f"--round {round_} starts from the model of round {round_ - 1}, which the run {run} does not have")
    config = load_config(run / "config.yaml", overrides)
    training = config.training

    def found(session: Session) -> tuple[list[PreferencePair], str, Origin]:
        if session.config.model_copy(update={"training": training, "seed": config.seed}) != config:
            raise UsageError(
                f"--set {' --set '.join(overrides)} changes more than the training: the pairs of {run} are made already, so "
                "only training.* and seed can be set; for anything else give a new run `--fork-from`"
            )
        start = weights_of(session.casting.policy(round_))
        if start is None:
            raise UsageError(f"the model of {run} has no weights that could be trained: its model.type is simulated")
        pairs = [pair for pair in read_pairs(session.directory.pairs_path) if pair.round == round_]
        return pairs, start, origin_of(session, round_)

    pairs, start, origin = read_session(run, found)
    if not isinstance(training, DPOTraining):
        raise UsageError(f"training.type {training.type} cannot be trained again on the pairs of a run: only dpo can")
    return train_dpo(pairs, start, out, training, config.seed, observe, origin=origin)
