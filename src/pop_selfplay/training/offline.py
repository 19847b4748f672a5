"""Training on pairs with TRL: pairs and a starting model in, a finished model directory out.

Training works in a hidden directory beside `out` and gives it that name at the very end, so that `out` exists only when it is
whole: weights in the starting model's precision, configuration, tokenizer, chat template, model card and metrics.jsonl. An
interrupted training leaves its hidden directory, and the next one for the same request resumes from its last checkpoint.

`Offline` is the whole of that for any trainer of TRL's on pairs; dpo.py and sft.py say what differs. The next one is a file
like theirs.
"""

import importlib.util
import json
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, NamedTuple

import torch
from transformers import BitsAndBytesConfig, PrinterCallback

from pop_selfplay.config import Fields, OfflineTraining, RayRunner, RoleThinking, Thinking, all_thinking_of
from pop_selfplay.errors import ConfigError, ModelRefused, TrainingError, UsageError
from pop_selfplay.records import PreferencePair, Role, Step
from pop_selfplay.results.run import H, TrainingFigures
from pop_selfplay.runs.session import Session
from pop_selfplay.scale import cluster
from pop_selfplay.training import Observe, Origin, TrainerOnPairs, distributed, origin_of, pairs_of_round, trainer_of
from pop_selfplay.training.callbacks import Logged, Watch, diverged_advice
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
from pop_selfplay.training.data import E, LengthLimits, PairSplit, choose_pairs, on_disk
from pop_selfplay.training.export import Facts, finish, peft_config, save_weights
from pop_selfplay.training.loading import load_model_config, load_tokenizer, memory_given_back, threads_for
from pop_selfplay.training.trl_config import Defaults, Settings, quiet_libraries

_FAILURES: Final = 3
"""How often a training on Ray begins again at its last checkpoint."""


class Job(NamedTuple):
    """What is to be trained: all that another process of the same training must know."""

    pairs: Sequence[PreferencePair]
    start: str
    out: Path
    config: OfflineTraining
    seed: int
    origin: Origin | None
    thinking: Thinking = Thinking()


class Trained(NamedTuple, Generic[H]):
    """Where the weights to keep lie, the step they were taken after (None: the last of the `steps`), and their figures."""

    weights: Path
    best_step: int | None
    steps: int
    held_out: H | None


class Offline(TrainerOnPairs, Generic[E, H]):
    """A trainer of TRL's on pairs. A subclass says which, from what values it starts, and what it makes of a pair.

    `trainer` is the subclass of TRL's, with `OwnPairs`; `name` and `data` are for people.
    """

    name: ClassVar[str]
    data: ClassVar[str]
    defaults: ClassVar[Defaults]
    trainer: ClassVar[Any]
    figures: type[H]
    result: ClassVar[Callable[..., TrainingFigures]]

    def __init__(self, config: OfflineTraining) -> None:
        self.config = config

    @abstractmethod
    def encode(self, pair: PreferencePair, tokenizer: Any, thinking: RoleThinking) -> E:
        """Return the pair as token ids, its prompt as a model sees it whose `thinking` is switched so.

        Raises TrainingError when the chat template cannot render its conversation."""

    @abstractmethod
    def step(self, logged: Logged) -> Step:
        """Return a log entry as an observer is told of it."""

    def starting_log_probs(self, trainer: Any) -> Any:
        """Return what the starting model makes of the held-out pairs, None without any; before training only."""
        return trainer.held_out_log_probs()

    def as_good(self, quality: float, highest: float, pairs: int) -> bool:
        """Whether a step with this quality on so many held-out `pairs` takes the place of the best one before it."""
        return quality >= highest

    def train(
        self,
        pairs: Sequence[PreferencePair],
        start: str,
        out: Path,
        seed: int,
        observe: Observe | None = None,
        *,
        origin: Origin | None = None,
    ) -> TrainingFigures:
        """Train the model at `start` (directory or hub name) on `pairs` and save it to `out`, which must not exist yet.

        On a CPU the same pairs (in any order) and seed give the same weights bit for bit, however often the training was
        interrupted. `observe` is called after every logged step; `origin` goes into the model card. Raises UsageError or
        ConfigError for a request that makes no sense, ModelRefused when `start` cannot be loaded, TrainingError when there is
        nothing to train on or the training diverges.
        """
        if out.exists():
            raise UsageError(f"{out} exists already: remove it, or train into another directory")
        job = Job(pairs, start, out, self.config, seed, origin, self.thinking)
        distributed.tell(job)
        return self.run(job, observe)

    def train_round(self, session: Session, round_: int, start: str, out: Path) -> TrainingFigures:
        """Train on the pairs of the round, on the cluster of the config where it has `training_workers`."""
        runner = session.config.runner
        if not isinstance(runner, RayRunner) or not runner.training_workers:
            return super().train_round(session, round_, start, out)
        pairs = pairs_of_round(session, round_)
        thinking = all_thinking_of(session.casting.policy(round_))
        start = str(Path(start).absolute()) if Path(start).exists() else start  # Ray's processes work in a folder of their own
        job = Job(pairs, start, out.absolute(), self.config, session.config.seed, origin_of(session, round_), thinking)
        session.observer.phase(f"round {round_}: training on {len(pairs)} pairs in {runner.training_workers} processes")
        with cluster(session):
            return self.result(**train_on_ray(job, runner))

    def run(self, job: Job, observe: Observe | None) -> TrainingFigures:
        """Train, in every process of a training alike; only the first one writes."""
        began = time.monotonic()
        settings = Settings.of(self.config, self.defaults)
        tokenizer = load_tokenizer(job.start, settings.hub)
        chosen = self.choose(job, tokenizer, settings)
        directory = _directory(job, chosen)
        advice = diverged_advice(f"{settings.where}.learning_rate", directory / METRICS)
        watch = Watch(directory / METRICS, observe, self.step, advice, writes=distributed.is_first())
        with quiet_libraries():
            with threads_for(job.start, settings.hub), memory_given_back(_memory_advice(settings.where)):
                trained = self._train(chosen, job, tokenizer, settings, watch)
            # The trainer is gone: merging loads the starting model once more.
            result = self.result(
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
                facts = self._facts(job, chosen, trained, watch)
                publish(directory, finish(trained.weights, self.config.lora, tokenizer, settings.hub, facts), job.out)
        distributed.barrier()
        return result

    def choose(self, job: Job, tokenizer: Any, settings: Settings) -> PairSplit[E]:
        """Return the pairs that are trained on and held out, as token ids. Raises TrainingError when none is left."""
        limits = LengthLimits(settings.max_prompt_length, settings.max_length, settings.where)

        def encode(pair: PreferencePair) -> E:
            return self.encode(pair, tokenizer, job.thinking.of(Role(pair.role)))

        return choose_pairs(job.pairs, encode, limits, self.config.held_out_share, job.seed)

    def make_trainer(self, chosen: PairSplit[E], job: Job, tokenizer: Any, settings: Settings, directory: Path) -> Any:
        """Return TRL's trainer, ready to train: model loaded, pairs on disk, and what it computes before training computed."""
        config = settings.trl_config(directory, job.seed, chosen.longest, evaluated=bool(chosen.held_out))
        if config.run_name is None:  # the same name after an interruption, so that a tracker goes on with the same run
            config.run_name = "/".join(job.out.absolute().parts[-3:]).replace("/models/", "/")
        parts = {name: pairs for name, pairs in [("train", chosen.train), ("held_out", chosen.held_out)] if pairs}
        if distributed.is_first():
            for name, pairs in parts.items():
                on_disk(pairs, directory / "pairs" / name)
        distributed.barrier()
        data = {name: on_disk(pairs, directory / "pairs" / name) for name, pairs in parts.items()}
        lora = self.config.lora
        try:
            trainer = self.trainer(
                model=job.start,
                args=config,
                train_dataset=data["train"],
                eval_dataset=data.get("held_out"),
                processing_class=tokenizer,
                quantization_config=four_bits(settings.use_cpu) if self.config.quantization else None,
                peft_config=peft_config(lora),
                padding_free=settings.padding_free,
                lora_dropout=lora.dropout if lora else 0.0,
            )
        except OSError as error:
            raise ModelRefused(f"cannot load the model to train from {job.start!r}: {error}") from error
        except (ValueError, NotImplementedError) as error:
            raise TrainingError(f"TRL cannot train {job.start!r} with these settings: {error}") from error
        trainer.advice = diverged_advice(f"{settings.where}.learning_rate", directory / METRICS)
        trainer.remove_callback(PrinterCallback)  # it prints every log entry when the progress bar is off
        return trainer

    def _train(self, chosen: PairSplit[E], job: Job, tokenizer: Any, settings: Settings, watch: Watch) -> Trained[H]:
        """Train to the end, from the last checkpoint if there is one."""
        directory = watch.metrics.parent
        trainer = self.make_trainer(chosen, job, tokenizer, settings, directory)
        trainer.before = self.starting_log_probs(trainer)
        dtype = load_model_config(job.start, settings.hub).dtype

        def save(folder: Path) -> None:
            save_weights(trainer, folder, dtype, trainer.advice)

        checkpoint = last_checkpoint(directory)
        watch.resume_after(step_of(checkpoint) if checkpoint else 0)
        trainer.resume_from(watch.tokens)
        trainer.add_callback(watch)
        trainer.add_callback(SealCheckpoints())
        if self.config.keep_best and trainer.eval_dataset is not None:
            as_good = partial(self.as_good, pairs=len(trainer.eval_dataset))
            trainer.add_callback(KeepBest(directory, self.figures, save, trainer.held_out, as_good))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        watch.tokens = trainer.tokens_trained
        if not watch.losses:
            raise TrainingError(f"no step was taken: raise {settings.where}.num_train_epochs or {settings.where}.max_steps")
        steps: int = trainer.state.global_step
        best = read_best(directory, self.figures) if self.config.keep_best else None
        if best is not None:
            return Trained(best_folder(directory, best.step), best.step, steps, best.held_out)
        if trainer.evaluated_at != steps:
            trainer.after = trainer.held_out_log_probs()
        save(directory / LAST)
        return Trained(directory / LAST, None, steps, trainer.held_out())

    def _facts(self, job: Job, chosen: PairSplit[E], trained: Trained[H], watch: Watch) -> Facts:
        """Return what the model card tells."""
        figures: Fields = {"pairs held out": len(chosen.held_out), "steps": trained.steps, "tokens": watch.tokens}
        figures |= {"first loss": watch.losses[0], "last loss": watch.losses[-1]}
        figures |= {} if trained.held_out is None else trained.held_out.model_dump()
        method = f"LoRA {self.name}" if self.config.lora else self.name
        data, settings = f"{len(chosen.train):,} {self.data}", self.config.model_dump(mode="json")
        return Facts(job.start, method, data, settings, figures, job.origin)


def _memory_advice(where: str) -> str:
    return (
        f"lower {where}.per_device_train_batch_size (down to 1) or {where}.max_length, or train less: training.lora, and with "
        "it training.quantization 4bit; docs/training.md says what needs how much"
    )


def train_along() -> None:
    """Take part, as any process but the first, in the training that the first one begins; return when it has nothing to do."""
    job = distributed.hear()
    if job is None:
        return
    trainer = trainer_of(job.config)
    assert isinstance(trainer, Offline)  # no other one tells
    trainer.run(job, None)


def train_on_ray(job: Job, runner: RayRunner) -> dict[str, object]:
    """Train in the cluster that this process is in, and return the figures as data. All processes must see `job.out`.

    A process that dies ends the others, and all begin again at the last checkpoint. Raises TrainingError when that goes on.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    resources = {"CPU": runner.cpus_per_worker} | ({"GPU": runner.gpus_per_worker} if runner.gpus_per_worker else {})
    scaling = ScalingConfig(
        num_workers=runner.training_workers, use_gpu=bool(runner.gpus_per_worker), resources_per_worker=resources
    )
    notes = job.out.parent / f".{job.out.name}.ray"  # Ray's own; ours are in the training's hidden directory
    saving = RunConfig(name="ray", storage_path=str(notes), failure_config=FailureConfig(max_failures=_FAILURES))
    try:
        result = TorchTrainer(_train_here, train_loop_config={"job": job}, scaling_config=scaling, run_config=saving).fit()
    except TrainingFailedError as error:
        raise TrainingError(f"the training on Ray failed {_FAILURES + 1} times: {error}") from error
    finally:
        shutil.rmtree(notes, ignore_errors=True)
    figures: dict[str, object] = json.loads(result.return_value)  # of the first process
    return figures


def _train_here(told: Mapping[str, Job]) -> str:
    """Be one of the processes of a training on Ray, and return the figures as JSON."""
    job = told["job"]
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    trainer = trainer_of(job.config)
    assert isinstance(trainer, Offline)  # no other one trains so
    return trainer.run(job, None).model_dump_json()


def _directory(job: Job, chosen: PairSplit[E]) -> Path:
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


def four_bits(use_cpu: bool) -> BitsAndBytesConfig:
    """Return how QLoRA holds frozen weights: 4-bit NormalFloat with quantised constants, computing in bf16.

    Raises ConfigError where that cannot work: without a CUDA GPU, or without bitsandbytes.
    """
    if use_cpu or not torch.cuda.is_available():
        raise ConfigError(
            "training.quantization 4bit needs a CUDA GPU, and there is none: set it to null, which trains LoRA on whole weights"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("training.quantization 4bit needs bitsandbytes: `pip install bitsandbytes`, or set it to null")
    compute = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
