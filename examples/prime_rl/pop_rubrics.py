"""The problems of a run as a taskset of verifiers 0.4, for prime-rl: rl.toml names it by this module's name.

It must be importable where the environment runs: `PYTHONPATH=examples/prime_rl uv run rl @ examples/prime_rl/rl.toml`. The rows
are those of `pop export --format verifiers`.
"""

import functools
import json
from collections.abc import Iterable
from pathlib import Path

import verifiers.v1 as vf

import pop_selfplay as pop

__all__ = ["Problems"]


class ProblemsConfig(vf.TasksetConfig):  # type: ignore[misc]  # verifiers is not installed where we check types
    """Where the problems lie, and who judges."""

    problems: str = "problems.jsonl"
    judge: str = "http://localhost:8000/v1"
    domain: str = "instruction_following"


class Problem(vf.TaskData):  # type: ignore[misc]
    """A row of the export, and its judge."""

    answer: str
    info: str
    judge: str
    domain: str


@functools.cache
def reward(judge: str, domain: str) -> pop.RubricReward:
    """Return the reward of a judge, the same for all answers of a process: an answer is judged once."""
    return pop.reward(judge=judge, domain=domain)


class Answered(vf.Task[Problem]):  # type: ignore[misc]
    """One problem, scored by its rubric."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def rubric(self, trace: vf.Trace) -> float:
        """Return the score, 0 to 2. A rollout whose judge failed raises, and is left out."""
        columns = {name: [value] for name, value in json.loads(self.data.info).items()}
        judge = reward(self.data.judge, self.data.domain)
        (sample,) = await judge.score_answers([self.data.prompt_text], [trace.last_reply], **columns)
        if sample.reward is None:
            raise RuntimeError(f"the judge failed: {sample.reason}")
        return sample.reward


class Problems(vf.Taskset[Answered, ProblemsConfig]):  # type: ignore[misc]
    """All problems of the file."""

    def load(self) -> Iterable[Answered]:
        """Yield a task for each row."""
        common = {"judge": self.config.judge, "domain": self.config.domain}
        for line in Path(self.config.problems).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Answered(Problem(**{name: row[name] for name in ("prompt", "answer", "info")}, **common))
