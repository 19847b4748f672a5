"""Watch an online training: log entries to metrics.jsonl, sampled answers to samples.jsonl, steps to the observer.

What a step's answers show (core/rewards.py) is logged under `group/`, `judge/`, `invalid/` and `signs/`, and what an audit of
the scores says under its own name, beside what TRL logs itself. Shares are of all answers of the step, in [0, 1].
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.core.agreement import pearson
from pop_selfplay.core.rewards import Sample, group_figures, signs
from pop_selfplay.errors import TrainingError
from pop_selfplay.training.outcome import OnlineStep
from pop_selfplay.training.unfinished import METRICS, SAMPLES
from pop_selfplay.training.watch import finite, lines_until


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
        self.steps: list[OnlineStep] = []
        self.samples = 0
        self.judge_failures: Counter[str] = Counter()
        self.invalid: Counter[str] = Counter()
        self.tokens = 0
        self.generated_tokens = 0

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
                f"are in {self.directory / SAMPLES}. Look at the judge's refused calls, and raise synthesis.judge.max_tokens "
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
        if "loss" not in logs:
            return  # the summary at the end
        step = self._remember(entry)
        if not math.isfinite(step.loss):
            raise TrainingError(
                f"the loss became {step.loss} at step {step.step} of {step.steps} (learning rate {step.learning_rate}): "
                f"{diverged_advice(self.directory)}"
            )
        if self.observe is not None:
            self.observe(step)

    def go_on_after(self, step: int) -> None:
        """Take up what an interrupted training left, and forget what it did after `step`; 0 for all of it."""
        for line in lines_until(self.directory / METRICS, step):
            if "loss" in line:
                self._remember(line)
        for row in lines_until(self.directory / SAMPLES, step):
            self._count(row)

    def _remember(self, entry: Mapping[str, Any]) -> OnlineStep:
        names = ("learning_rate", "group/reward", "group/reward_std", "kl")
        rate, reward, spread, kl = (entry.get(name) for name in names)
        step = OnlineStep(entry["step"], entry["steps"], float(entry["loss"]), float(rate or 0.0), reward, spread, kl)
        self.steps.append(step)
        self.tokens = int(entry.get("num_tokens", 0))
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


def diverged_advice(directory: Path) -> str:
    """Return what to do about a training that ran off to infinity, for the end of an error message."""
    return (
        "no model was kept. Lower training.grpo.learning_rate or raise training.grpo.beta, and check that the starting model "
        f"answers sensibly; the steps until then are in {directory / METRICS}"
    )


def mean_reward(steps: Sequence[OnlineStep]) -> float | None:
    """Return the mean of the rewards of `steps`, None where there is none."""
    rewards = [step.reward for step in steps if step.reward is not None]
    return sum(rewards) / len(rewards) if rewards else None


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
