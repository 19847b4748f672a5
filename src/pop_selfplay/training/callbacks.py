"""What watches a training: every log entry to metrics.jsonl, every step to the observer, and a stop when it runs the wrong way.

`Watch` is for training on pairs. `OnlineWatch` is for online RL, and also writes every sampled answer to samples.jsonl. What a
step's answers show (method/rewards.py) is logged under `group/`, `judge/`, `invalid/` and `signs/`, and what an audit of the
scores says under its own name, beside what TRL logs itself. Shares are of all answers of the step, in [0, 1].

The rules for the wrong way are pure functions at the end, strict enough that chance does not set them off: a policy that has
learned nothing gives either answer the higher reward by the toss of a coin, and both rules fire only on what a fair coin shows
less than once in ten thousand looks. A new figure to watch goes into `figures`, a new rule beside these.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.errors import TrainingError
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.method.rewards import Sample
from pop_selfplay.records import OnlineStep, Step
from pop_selfplay.results.run import OnlineResult
from pop_selfplay.rewards.scoring import group_figures, signs
from pop_selfplay.stats.comparisons import pearson
from pop_selfplay.training import distributed
from pop_selfplay.training.checkpoints import METRICS, SAMPLES


class Logged(NamedTuple):
    """A log entry that holds a loss: after which step of how many, and what TRL calls its figures."""

    step: int
    steps: int
    loss: float
    logs: Mapping[str, Any]

    def figure(self, name: str) -> float:
        """Return the figure of that name, 0 where it was not logged."""
        return float(self.logs.get(name, 0.0))


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """A callback of the trainer that keeps the losses and token count the result needs.

    `made` makes the observed step of what was logged; `advice` ends the message of every error that stops the training. In a
    training of several processes all watch, so that all stop, and only the one with `writes` writes.
    """

    def __init__(
        self,
        metrics: Path,
        observe: Callable[[Step], None] | None,
        made: Callable[[Logged], Step],
        advice: str,
        *,
        writes: bool = True,
    ) -> None:
        self.metrics = metrics
        self.observe = observe
        self.made = made
        self.advice = advice
        self.writes = writes
        self.losses: list[float] = []
        self.margins: list[float] = []
        self.tokens = 0

    def resume_after(self, step: int) -> None:
        """Take up metrics.jsonl of an interrupted training, and forget what it logged after `step`; 0 for all of it."""
        for entry in lines_until(self.metrics, step, cut=self.writes):
            self._remember(entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,  # transformers passes the model, optimiser and more
    ) -> None:
        entry = {"step": state.global_step} | {name: finite(value) for name, value in logs.items()}
        if self.writes:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        if "loss" not in logs:
            return  # an evaluation, or the summary at the end
        self._remember(entry)
        loss = self.losses[-1]
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {state.global_step} of {state.max_steps} (learning rate "
                f"{logs.get('learning_rate')}): {self.advice}"
            )
        if running_backwards(self.margins):
            raise TrainingError(
                f"for {STEPS} logged steps until step {state.global_step} of {state.max_steps}, rejected answers gained more "
                f"probability than chosen ones: {self.advice}"
            )
        if self.observe is not None:
            self.observe(self.made(Logged(state.global_step, state.max_steps, loss, logs)))

    def _remember(self, entry: dict[str, Any]) -> None:
        if "loss" in entry:
            self.losses.append(float(entry["loss"]))
            self.margins.append(float(entry.get("rewards/margins", 0.0)))
            self.tokens = int(entry.get("num_tokens", self.tokens))


def diverged_advice(change: str, metrics: Path) -> str:
    """Return what to do about a training that diverged, for the end of an error message. `change` is the setting to lower."""
    return (
        f"no model was kept. Lower {change}, and check that the starting model answers sensibly; the steps up to there are in "
        f"{metrics}"
    )


def lines_until(path: Path, step: int, *, cut: bool = True) -> list[dict[str, Any]]:
    """Return the entries of a JSONL file, maybe missing, up to `step`; 0 for none. With `cut`, forget the others."""
    # Only \n ends a line: an answer may hold other ends. A kill may have cut a character in two.
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    kept = [line for line in lines if _step(line) <= step and step]
    distributed.barrier()  # all have read it before the first one writes it anew
    if cut:
        write_atomically(path, "".join(f"{line}\n" for line in kept))
    return [json.loads(line) for line in kept]


def _step(line: str) -> float:
    """Return the step of a line; a line that a kill cut short belongs to no step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return math.inf


def finite(value: Any) -> Any:
    """Return `value` for a log: JSON has no NaN and no infinity: they are written as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class ScoredBatch(NamedTuple):
    """What became of each answer, in order, and other scorings of the same answers by name, None where there is none."""

    samples: list[Sample]
    audits: dict[str, list[float | None]]


class Sampled(NamedTuple):
    """One generation's answers, in the order of the batch: `tokens` each has, and in `audits` other scorings by name.

    `step`, from 1, is the first that they are used for.
    """

    step: int
    problem_ids: Sequence[str]
    samples: Sequence[Sample]
    tokens: Sequence[int]
    audits: Mapping[str, Sequence[float | None]]


class OnlineWatch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """A callback of the trainer that keeps what the result needs, and is told about every generation by the reward."""

    def __init__(self, directory: Path, observe: Callable[[OnlineStep], None] | None) -> None:
        self.directory = directory
        self.observe = observe
        self.advice = diverged_advice("training.grpo.learning_rate or raise training.grpo.beta", directory / METRICS)
        self.steps: list[OnlineStep] = []
        self.rewards: list[float] = []
        self.samples = 0
        self.judge_failures: Counter[str] = Counter()
        self.invalid: Counter[str] = Counter()
        self.done = self.tokens = self.generated_tokens = 0

    def sampled(self, made: Sampled) -> dict[str, float]:
        """Write down a generation's answers and return what they show. Raises TrainingError when the judge scored none."""
        failed = Counter(sample.reason for sample in made.samples if sample.score is None)
        invalid = Counter(sample.reason for sample in made.samples if sample.answer is None)
        rows = _rows(made)
        _append(self.directory / SAMPLES, rows)
        for row in rows:
            self._count(row)
        if failed.total() == len(made.samples):
            raise TrainingError(
                f"the judge scored none of the {len(made.samples)} answers of step {made.step} ({_counts(failed)}): they "
                f"are in {self.directory / SAMPLES}. Check why the judge's calls fail, raise synthesis.judge.max_tokens "
                "or synthesis.judge.attempts, or name a stronger judge under teachers"
            )
        return figures(made, failed, invalid)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,  # transformers passes the model, optimiser and more
    ) -> None:
        entry = {"step": state.global_step, "steps": state.max_steps} | {name: finite(value) for name, value in logs.items()}
        _append(self.directory / METRICS, [entry])
        self.done = state.global_step
        step = self._remember(entry)
        if step is None:
            return  # the summary at the end
        if not math.isfinite(step.loss):
            raise TrainingError(
                f"the loss became {step.loss} at step {step.step} of {step.steps} (learning rate {step.learning_rate}): "
                f"{self.advice}"
            )
        if self.observe is not None:
            self.observe(step)

    def resume_after(self, step: int) -> None:
        """Take up what an interrupted training left, and forget what it did after `step`; 0 for all of it."""
        self.done = step
        for line in lines_until(self.directory / METRICS, step):
            self._remember(line)
        for row in lines_until(self.directory / SAMPLES, step):
            self._count(row)

    def result(self, problems: int, dropped: dict[str, int], seconds: float) -> OnlineResult:
        """Return the figures of a finished training on so many problems."""
        rewards, tenth = self.rewards, max(1, len(self.rewards) // 10)
        return OnlineResult(
            problems=problems,
            dropped=dropped,
            steps=self.done,
            samples=self.samples,
            judge_failures=dict(sorted((+self.judge_failures).items())),
            invalid=dict(sorted((+self.invalid).items())),
            first_reward=statistics.fmean(rewards[:tenth]) if rewards else None,
            last_reward=statistics.fmean(rewards[-tenth:]) if rewards else None,
            kl=self.steps[-1].kl,
            seconds=seconds,
            tokens=self.tokens,
            generated_tokens=self.generated_tokens,
        )

    def _remember(self, entry: Mapping[str, Any]) -> OnlineStep | None:
        """Keep what the result needs, and return the step; None for the summary at the end, which has figures, too."""
        if entry.get("group/reward") is not None:  # a step on answers of an earlier one has none
            self.rewards.append(float(entry["group/reward"]))
        self.tokens = int(entry.get("num_tokens", self.tokens))
        if "loss" not in entry:
            return None
        names = ("learning_rate", "group/reward", "group/reward_std", "kl")
        rate, reward, spread, kl = (entry.get(name) for name in names)
        step = OnlineStep(entry["step"], entry["steps"], float(entry["loss"]), float(rate or 0.0), reward, spread, kl)
        self.steps.append(step)
        return step

    def _count(self, row: Mapping[str, Any]) -> None:
        self.samples += 1
        self.generated_tokens += row["tokens"]
        self.judge_failures[row["reason"]] += row["score"] is None
        self.invalid[row["reason"]] += row["answer"] is None


def figures(made: Sampled, failed: Mapping[str, int], invalid: Mapping[str, int]) -> dict[str, float]:
    """Return what the answers of one generation show, by the names of metrics.jsonl. `failed` and `invalid` count by reason."""
    count = len(made.samples)
    groups: dict[str, list[Sample]] = {}
    for problem, sample in zip(made.problem_ids, made.samples, strict=True):
        groups.setdefault(problem, []).append(sample)
    found = {f"group/{name}": value for name, value in group_figures([[s.reward for s in g] for g in groups.values()]).items()}
    found["judge/failures"] = sum(failed.values()) / count
    found["invalid"] = sum(invalid.values()) / count
    found |= {f"judge/failures/{reason}": number / count for reason, number in failed.items()}
    found |= {f"invalid/{reason}": number / count for reason, number in invalid.items()}
    found |= {f"signs/{name}": value for name, value in signs(list(groups.values())).items()}
    for name, scores in made.audits.items():
        both = [
            (s.score, other) for s, other in zip(made.samples, scores, strict=True) if s.score is not None and other is not None
        ]
        if both:
            found[f"{name}/score"] = sum(other for _, other in both) / len(both)
            related = pearson([score for score, _ in both], [other for _, other in both])
            if related is not None:
                found[f"{name}/agreement"] = related
    return found


def _append(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def _rows(made: Sampled) -> list[dict[str, Any]]:
    """Return the lines of samples.jsonl."""
    return [
        {"step": made.step, "problem_id": problem, **sample._asdict(), "tokens": tokens}
        | {name: scores[place] for name, scores in made.audits.items()}
        for place, (problem, sample, tokens) in enumerate(zip(made.problem_ids, made.samples, made.tokens, strict=True))
    ]


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


CHANCE: Final = 1e-4
"""The most probable outcome of pure chance that still counts as wrong."""

STEPS: Final = 20
"""So many logged steps in a row must be below zero: a fair coin does that once in 2²⁰ looks."""


def under_chance(margins: Sequence[float]) -> bool:
    """Whether so few held-out pairs are in order that chance would hardly do it (a one-sided sign test).

    `margins` are rewards of chosen minus rejected, one per pair. A pair with none says nothing and is left out. Fewer than 14
    pairs can never be enough.
    """
    right = sum(margin > 0 for margin in margins)
    wrong = sum(margin < 0 for margin in margins)
    pairs = right + wrong
    return right < wrong and sum(math.comb(pairs, k) for k in range(right + 1)) / 2**pairs < CHANCE


def running_backwards(margins: Sequence[float]) -> bool:
    """Whether the mean margin of each of the last `STEPS` logged steps was below zero: pairs not yet seen get ever worse."""
    return len(margins) >= STEPS and all(margin < 0 for margin in margins[-STEPS:])
