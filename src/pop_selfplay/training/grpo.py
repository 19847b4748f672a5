"""Online RL with TRL's GRPO: the round's problems and rubrics and its starting model in, a finished model directory out.

    a batch of problems ──sample──▶ a group of answers each      (grpo_trainer.py, or TRL with vLLM)
    each answer ──judge, by the problem's rubric──▶ reward       (rewards/, the same prompts, parsers and journal as synthesis)
    rewards within a group ──GRPO──▶ a step of the policy        (TRL)

The judge is frozen: the policy that the round started with, or the teacher for the judge's role. Where it fails the answer has
no reward: TRL leaves it out of its group's mean and spread and gives it no advantage. That holds only while the rubric is the
one reward function, so every other term is inside it (method/rewards.py).

Not in the paper. Training works in a hidden directory beside `out`, as DPO does. One that was killed goes on from its last
checkpoint, samples the same answers again, and finds the judge's verdicts in the journal.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PrinterCallback

from pop_selfplay.config import AS_IT_DOES, GRPOTraining, RoleThinking, Sampling, Thinking, thinking_of
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ModelRefused, TrainingError, UsageError
from pop_selfplay.models.chat_template import opens_reasoning, render_prompt, switches
from pop_selfplay.pairing import paired
from pop_selfplay.records import Message, OnlineStep, Role
from pop_selfplay.results.run import OnlineResult
from pop_selfplay.rewards.scoring import Graded, sound
from pop_selfplay.runs.session import Session
from pop_selfplay.training import Origin, distributed, origin_of
from pop_selfplay.training.callbacks import OnlineWatch, mean_reward
from pop_selfplay.training.checkpoints import LAST, SealCheckpoints, last_checkpoint, publish, step_of, take_up
from pop_selfplay.training.data import DropReason, encode_prompt
from pop_selfplay.training.export import Facts, finish, peft_config, save_weights
from pop_selfplay.training.grpo_reward import RubricRewards, Score, judge_of
from pop_selfplay.training.grpo_trainer import MEMORY_ADVICE, OnlineSettings, OnlineTrainer, Repeatable, Rollout
from pop_selfplay.training.loading import load_model_config, load_tokenizer, memory_given_back, threads_for
from pop_selfplay.training.trl_config import quiet_libraries


class OnlineJob(NamedTuple):
    """What is to be trained: `problems` in the words of `domain`, from `start` (directory or hub name) to `out`.

    Answers are sampled as `solver` says, unless `config.grpo` says otherwise; `thinking` is what the chat template is told.
    """

    problems: Sequence[Graded]
    domain: Domain
    start: str
    out: Path
    config: GRPOTraining
    solver: Sampling
    seed: int
    origin: Origin | None = None
    thinking: RoleThinking = AS_IT_DOES


class OnlineProblems(NamedTuple):
    """The problems that are trained on, by id, with the conversation that asks each, and what was dropped, by reason.

    `longest` is the longest conversation, in tokens.
    """

    problems: dict[str, Graded]
    prompts: dict[str, list[dict[str, str]]]
    dropped: dict[str, int]
    longest: int


class GRPO:
    """`training.type: grpo`."""

    def __init__(self, config: GRPOTraining) -> None:
        self.config = config

    def train_round(self, session: Session, round_: int, start: str, out: Path) -> OnlineResult:
        """Train the model at `start` on the problems of the round's finished episodes, and save it to `out`.

        Raises what `train_grpo` raises, and ModelError when the judge cannot be reached.
        """
        require_one_process()
        session.observer.phase(f"round {round_}: online training")
        run = session.config
        made = paired(session.journal, round_, session.domain, run.pairing, run.seed)
        problems = [found.graded for found in sound(made) if found.episode.round == round_]
        origin, thinking = origin_of(session, round_), thinking_of(session.casting.policy(round_), Role.SOLVER)
        job = OnlineJob(problems, session.domain, start, out, self.config, run.synthesis.solver, run.seed, origin, thinking)
        with judge_of(session, round_, self.config) as score:
            return train_grpo(job, score, session.observer.training_step)


def train_grpo(job: OnlineJob, score: Score, observe: Callable[[OnlineStep], None] | None = None) -> OnlineResult:
    """Train a model to answer problems so that `score` likes it, and save it to `job.out`, which must not exist yet.

    On a CPU the same problems, judge and seed give the same weights bit for bit, however often the training was interrupted.
    `observe` is called after every logged step. Raises UsageError or ConfigError for a request that makes no sense,
    ModelRefused when the start cannot be loaded, TrainingError when there is nothing to train on, the judge scores nothing, or
    the training diverges.
    """
    began = time.monotonic()
    if job.out.exists():
        raise UsageError(f"{job.out} exists already: remove it, or train into another directory")
    require_one_process()
    settings = OnlineSettings.of_run(job.config, job.solver)
    tokenizer = load_tokenizer(job.start, settings.hub)
    asked = fitting(job, tokenizer, settings.max_prompt_length)
    settings.require_a_step(len(asked.problems))
    directory = take_up(job.out, _request(job, asked))
    watch = OnlineWatch(directory, observe)
    with quiet_libraries():
        with threads_for(job.start, settings.hub), memory_given_back(MEMORY_ADVICE):
            _train(asked, RubricRewards(asked.problems, score, watch), job, tokenizer, settings, watch)
        # The trainer is gone: merging loads the starting model once more.
        result = result_of(watch, asked, time.monotonic() - began)
        finished = finish(directory / LAST, job.config.lora, tokenizer, settings.hub, _facts(job, result))
        publish(directory, finished, job.out)
    return result


def require_one_process() -> None:
    """Raise UsageError under a launcher of several processes: they would need a judge and a journal each."""
    if distributed.count() > 1:
        raise UsageError(f"online RL trains in one process, not in {distributed.count()}: start it without accelerate launch")


def fitting(job: OnlineJob, tokenizer: Any, limit: int | None) -> OnlineProblems:
    """Return the problems of `job` whose conversation has at most `limit` tokens, in the order of their ids.

    Raises TrainingError when none is left, or when the chat template cannot render a conversation.
    """
    kept, prompts, dropped, longest = dict[str, Graded](), dict[str, list[dict[str, str]]](), Counter[str](), 0
    for graded in sorted(job.problems, key=lambda graded: graded.problem.id):
        prompt = job.domain.render("solve", problem=graded.problem.text)
        tokens = len(encode_prompt(graded.problem.id, prompt, tokenizer, job.thinking))
        if limit is not None and tokens > limit:
            dropped[DropReason.PROMPT_TOO_LONG.value] += 1
            continue
        kept[graded.problem.id] = graded
        prompts[graded.problem.id] = [turn.model_dump() for turn in prompt]
        longest = max(longest, tokens)
    if not kept:
        raise TrainingError(
            f"there is no problem to train on ({dropped.total()} were longer than training.grpo.max_prompt_length {limit}): "
            "use more documents (synthesis.documents); `pop status` shows what was dropped and why"
        )
    return OnlineProblems(kept, prompts, dict(dropped), longest)


def make_trainer(
    asked: OnlineProblems, rewards: RubricRewards, job: OnlineJob, tokenizer: Any, settings: OnlineSettings, directory: Path
) -> OnlineTrainer:
    """Return TRL's trainer, ready to train."""
    config = settings.grpo_config(directory, job.seed, asked.longest)
    told = switches(job.thinking) | (config.chat_template_kwargs or {})
    config.chat_template_kwargs = told or None
    rows = [{"prompt": prompt, "problem_id": id_} for id_, prompt in asked.prompts.items()]
    try:
        trainer = OnlineTrainer(
            model=job.start,
            reward_funcs=rewards,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=peft_config(job.config.lora),
            rollout_func=Rollout(job.seed, Thinking(roles={Role.SOLVER: job.thinking})) if settings.samples_itself else None,
        )
    except OSError as error:
        raise ModelRefused(f"cannot load the model to train from {job.start!r}: {error}") from error
    except (ValueError, NotImplementedError, ImportError) as error:
        raise TrainingError(f"TRL cannot train {job.start!r} with these settings: {error}") from error
    trainer.remove_callback(PrinterCallback)  # it prints every log entry when the progress bar is off
    rewards.know_ends(
        (*trainer.eos_token_ids, tokenizer.pad_token_id),
        mask_cut_off=config.mask_truncated_completions,
        in_reasoning=opens_reasoning(render_prompt(tokenizer, (Message(role="user", content="?"),), job.thinking)),
    )
    return trainer


def _train(
    asked: OnlineProblems, rewards: RubricRewards, job: OnlineJob, tokenizer: Any, settings: OnlineSettings, watch: OnlineWatch
) -> None:
    """Train to the end, from the last checkpoint if there is one, and save the last weights."""
    trainer = make_trainer(asked, rewards, job, tokenizer, settings, watch.directory)
    checkpoint = last_checkpoint(watch.directory)
    if checkpoint is not None:
        trainer.resume_from(checkpoint)
    watch.resume_after(step_of(checkpoint) if checkpoint else 0)
    trainer.add_callback(Repeatable(job.seed, trainer.steps_per_generation))
    trainer.add_callback(watch)
    trainer.add_callback(SealCheckpoints())
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not watch.steps:
        raise TrainingError("no step was taken: raise training.grpo.num_train_epochs or training.grpo.max_steps")
    dtype = load_model_config(job.start, settings.hub).dtype
    save_weights(trainer, watch.directory / LAST, dtype, watch.advice)


def result_of(watch: OnlineWatch, asked: OnlineProblems, seconds: float) -> OnlineResult:
    """Return the figures of a finished training."""
    tenth = max(1, len(watch.steps) // 10)
    return OnlineResult(
        problems=len(asked.problems),
        dropped=asked.dropped,
        steps=watch.steps[-1].step,
        samples=watch.samples,
        judge_failures=dict(sorted((+watch.judge_failures).items())),
        invalid=dict(sorted((+watch.invalid).items())),
        first_reward=mean_reward(watch.steps[:tenth]),
        last_reward=mean_reward(watch.steps[-tenth:]),
        kl=watch.steps[-1].kl,
        seconds=seconds,
        tokens=watch.tokens,
        generated_tokens=watch.generated_tokens,
    )


def _facts(job: OnlineJob, result: OnlineResult) -> Facts:
    """Return what the model card tells."""
    figures = result.model_dump(include={"steps", "samples", "first_reward", "last_reward", "kl", "tokens"})
    method, data = "LoRA GRPO" if job.config.lora else "GRPO", f"{result.problems:,} problems with rubrics"
    settings = job.config.model_dump(mode="json", exclude={"second_judge"})  # an address or path of ours; it changes nothing
    return Facts(job.start, method, data, settings, figures, job.origin)


def _request(job: OnlineJob, asked: OnlineProblems) -> dict[str, object]:
    """Return what tells this training from another one: a training that was asked for the same is taken up."""
    told = switches(job.thinking)
    return {
        **({"thinking": told} if told else {}),
        "start": job.start,
        "config": job.config.model_dump(mode="json"),
        "solver": job.solver.model_dump(mode="json"),
        "seed": job.seed,
        "problems": {
            id_: [asked.prompts[id_], graded.rubric.model_dump(mode="json") if graded.rubric else None]
            for id_, graded in asked.problems.items()
        },
    }
