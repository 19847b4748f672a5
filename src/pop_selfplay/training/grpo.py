"""Online RL with TRL's GRPO: the round's problems and rubrics and its starting model in, a finished model directory out.

    a batch of problems ──sample──▶ a group of answers each      (grpo_trainer.py, or TRL with vLLM)
    each answer ──judge, by the problem's rubric──▶ reward       (rewards/, the same prompts, parsers and journal as synthesis)
    rewards within a group ──GRPO──▶ a step of the policy        (TRL)

The judge is frozen: the policy that the round started with, or the teacher for the judge's role. Where it fails the answer has
no reward: TRL leaves it out of its group's mean and spread and gives it no advantage. That holds only while the rubric is the
one reward function, so every other term is inside it (method/rewards.py). A second judge (`training.second_judge`), and the
truth where it is known, are only compared with it: `ScoredBatch.audits`.

Not in the paper. Training works in a hidden directory beside `out`, as DPO does. One that was killed goes on from its last
checkpoint, samples the same answers again, and finds the judge's verdicts in the journal.
"""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from datasets import Dataset
from transformers import PrinterCallback

from pop_selfplay.config import AS_IT_DOES, GRPOTraining, RoleThinking, Sampling, Thinking, thinking_of
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ModelRefused, TrainingError, UsageError
from pop_selfplay.method.rewards import Sample, Shaping
from pop_selfplay.models.chat_template import after_opened_reasoning, opens_reasoning, render_prompt, switches
from pop_selfplay.pairing import paired
from pop_selfplay.pocket.world import knows_truth, truth_score
from pop_selfplay.records import Message, OnlineStep, Role
from pop_selfplay.results.run import OnlineResult
from pop_selfplay.rewards.rubric_reward import Bridge, text_of
from pop_selfplay.rewards.scoring import Graded, score_answers, sound
from pop_selfplay.runs.casting import SECOND_JUDGE as SECOND_JUDGE_CALLS
from pop_selfplay.runs.session import Session
from pop_selfplay.stages.calls import Cast
from pop_selfplay.tasks import together
from pop_selfplay.training import Origin, distributed, origin_of, told_to
from pop_selfplay.training.callbacks import OnlineWatch, Sampled, ScoredBatch
from pop_selfplay.training.checkpoints import LAST, SealCheckpoints, last_checkpoint, publish, step_of, take_up
from pop_selfplay.training.data import DropReason, encode_prompt
from pop_selfplay.training.export import Facts, finish, peft_config, save_weights
from pop_selfplay.training.grpo_trainer import MEMORY_ADVICE, OnlineSettings, OnlineTrainer, Repeatable, Rollout
from pop_selfplay.training.loading import load_model_config, load_tokenizer, memory_given_back, threads_for
from pop_selfplay.training.trl_config import quiet_libraries

SECOND_JUDGE: Final = "second_judge"
TRUTH: Final = "truth"

Score = Callable[[Sequence[Graded], Sequence[str], Sequence[bool]], ScoredBatch]
"""(problems with their rubrics, completions, whether the model ended each by itself), one per answer → what became of them."""


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


class RubricRewards:
    """The reward function of the trainer: answers to `score`, and what came of them to the watch and into TRL's log."""

    __name__ = "rubric"  # what TRL logs it as

    def __init__(self, problems: Mapping[str, Graded], score: Score, watch: OnlineWatch) -> None:
        self._problems, self._score, self._watch = problems, score, watch
        self._ends: frozenset[int] = frozenset()
        self._mask_cut_off = self._in_reasoning = False

    def know_ends(self, ends: Iterable[int], *, mask_cut_off: bool, in_reasoning: bool = False) -> None:
        """Say by which token an answer ends that was not cut off, whether TRL masks one that was, and whether prompts open the
        reasoning: an answer which never leaves it is none.
        """
        self._ends, self._mask_cut_off, self._in_reasoning = frozenset(ends), mask_cut_off, in_reasoning

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        problem_id: Sequence[str],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        generated: Sequence[int] | None = None,
        **_: Any,  # the other things that TRL hands over
    ) -> list[float | None]:
        """Return the reward of each completion, None where the judge failed or the answer is masked.

        `generated` is how many tokens of each the model wrote, where that is not all of them.
        """
        texts = [text_of(completion) for completion in completions]
        if self._in_reasoning:
            texts = list(map(after_opened_reasoning, texts))
        ended = [ids[-1] in self._ends for ids in completion_ids]
        judged = self._score([self._problems[id_] for id_ in problem_id], texts, ended)
        samples = [sample if whole else self._cut_off(sample) for sample, whole in zip(judged.samples, ended, strict=True)]
        tokens = [len(ids) for ids in completion_ids] if generated is None else generated
        made = Sampled(trainer_state.global_step + 1, problem_id, samples, tokens, judged.audits)
        for name, value in self._watch.sampled(made).items():
            log_metric(name, value)
        return [sample.reward for sample in samples]

    def _cut_off(self, sample: Sample) -> Sample:
        """An answer that was cut off does not parse for that reason; and where TRL masks it, it must not move its group."""
        if sample.answer is None:
            sample = sample._replace(reason="cut_off")
        return sample._replace(reward=None) if self._mask_cut_off else sample


class GRPO:
    """`training.type: grpo`."""

    def __init__(self, config: GRPOTraining) -> None:
        self.config = config

    def train_round(self, session: Session, round_: int, start: str, out: Path) -> OnlineResult:
        """Train the model at `start` on the problems of the round's finished episodes, and save it to `out`.

        Raises what `train_grpo` raises, and ModelError when the judge cannot be reached.
        """
        distributed.require_one()
        session.observer.phase(f"round {round_}: online training")
        run = session.config
        made = paired(session.journal, round_, session.domain, run.pairing, run.seed)
        problems = [found.graded for found in sound(made) if found.episode.round == round_]
        origin, thinking = origin_of(session, round_), thinking_of(session.casting.policy(round_), Role.SOLVER)
        job = OnlineJob(problems, session.domain, start, out, self.config, run.synthesis.solver, run.seed, origin, thinking)
        with judge_of(session, round_, self.config) as score:
            return train_grpo(job, score, told_to(session))


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
    distributed.require_one()
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
        result = watch.result(len(asked.problems), asked.dropped, time.monotonic() - began)
        finished = finish(directory / LAST, job.config.lora, tokenizer, settings.hub, _facts(job, result))
        publish(directory, finished, job.out)
    return result


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
        "config": job.config.model_dump(mode="json") | {"second_judge": None},  # it changes nothing
        "solver": job.solver.model_dump(mode="json"),
        "seed": job.seed,
        "problems": {
            id_: [asked.prompts[id_], graded.rubric.model_dump(mode="json") if graded.rubric else None]
            for id_, graded in asked.problems.items()
        },
    }


@contextlib.contextmanager
def judge_of(session: Session, round_: int, config: GRPOTraining) -> Iterator[Score]:
    """Yield the scoring of answers in `round_`: the judge is who judged its synthesis, and stays as it is.

    It works in a thread of its own, with a journal connection of its own, and is opened with the first answers.
    """
    bridge = Bridge(partial(_judges, session, round_, config), name="pop judge")
    shaping = Shaping(config.format_reward, config.length_penalty)

    def score(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
        judged = bridge.run(partial(_score, asked, completions, ended, round_, shaping))
        session.casting.refresh()
        if knows_truth(session.config.corpus):
            pairs = zip(asked, judged.samples, strict=True)
            judged.audits[TRUTH] = [truth_score(graded.problem, sample.answer or "") for graded, sample in pairs]
        return judged

    try:
        yield score
    finally:
        bridge.close()


@contextlib.asynccontextmanager
async def _judges(session: Session, round_: int, config: GRPOTraining) -> AsyncIterator[dict[str, Cast]]:
    """Yield the casts of all judges, by what their scores are called; the one that makes the reward is "judge"."""
    with session.directory.journal() as journal:  # a journal belongs to the thread that opened it
        own = session.casting.copy(journal=journal)
        policies, meter = {Role.JUDGE: own.policies(round_)[Role.JUDGE]}, own.account.meter()
        async with contextlib.AsyncExitStack() as stack:
            casts = {Role.JUDGE.value: await stack.enter_async_context(own.open(policies, meter=meter))}
            if config.second_judge is not None:
                second = own.open(policies, teachers={Role.JUDGE: config.second_judge}, meter=meter)
                casts[SECOND_JUDGE] = await stack.enter_async_context(second)
            yield casts


async def _score(
    asked: Sequence[Graded],
    completions: Sequence[str],
    ended: Sequence[bool],
    round_: int,
    shaping: Shaping,
    casts: dict[str, Cast],
) -> ScoredBatch:
    def own(name: str) -> str:
        return "train/" if name == Role.JUDGE else SECOND_JUDGE_CALLS

    scored = await together(
        score_answers(cast, asked, completions, round_, shaping=shaping, under=own(name), ended=ended)
        for name, cast in casts.items()
    )
    by_name = dict(zip(casts, scored, strict=True))
    samples = by_name.pop(Role.JUDGE.value)
    return ScoredBatch(samples, {name: [sample.score for sample in others] for name, others in by_name.items()})
