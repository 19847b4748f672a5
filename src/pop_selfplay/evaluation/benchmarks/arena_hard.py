r"""Arena-Hard (arXiv 2406.11939), v0.1 and v2: a judge compares each answer with a baseline's, in both orders, on five points.

Rows of arena_hard_v0.1: `question_id`, `turns` (one, with `content`). Rows of arena_hard_v2: `uid`, `prompt`, `category`;
option `category` (hard_prompt, creative_writing, or "" for all). The baseline is what `--against` answers, or
`<name>_baseline.*`: the published baselines are GPT-4-0314 for v0.1, o3-mini and Gemini 2.0 Flash for v2.

As published: a verdict of `>>` counts three times; the win rate is the mean over these games. `style_controlled` is the win
rate that is left when both answers have the same length and the same number of headers, lists and bold passages per word, by a
Bradley-Terry regression; `length_controlled` holds the length alone constant. Differences: the judge's prompt is ours, lengths
are in words instead of a tokenizer's tokens, and features are scaled but not centred, so that the controlled rate is that of
two answers of equal style.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from inspect_ai import Task
from inspect_ai.dataset import Dataset, Sample, json_dataset
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from pop_selfplay.domains import Prompt, load_prompt
from pop_selfplay.evaluation.benchmarks.base import Item, Row, Setup, Value
from pop_selfplay.evaluation.benchmarks.parts import ask_judge, collect, dataset, of_own, scored
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.stats.comparisons import Game, strengths
from pop_selfplay.stats.intervals import SHARES, Estimate, Indices, bootstrap, clustered_mean
from pop_selfplay.tasks import together
from pop_selfplay.text.words import style_difference, style_of

read = of_own
STRONG: Final = 3.0  # how often a verdict of >> counts

_HUB: Final = "hf://datasets/lmarena-ai/arena-hard-auto/data/{}/question.jsonl"
_FOLDER: Final = {"arena_hard_v0.1": "arena-hard-v0.1", "arena_hard_v2": "arena-hard-v2.0"}
_VERDICT: Final = re.compile(r"\[\[(A>>B|A>B|A=B|B>A|B>>A)\]\]")
_POINTS: Final = {"A>>B": (1.0, STRONG), "A>B": (1.0, 1.0), "A=B": (0.5, 1.0), "B>A": (0.0, 1.0), "B>>A": (0.0, STRONG)}
_PLACES: Final = frozenset({"request", "answer_a", "answer_b"})
_RESAMPLES: Final = 500


def make_task(setup: Setup) -> Task:
    """Return the task; without a baseline its only work is to collect the answers that become one."""
    items = dataset(setup, item, lambda: _hub(setup.benchmark.name))
    if category := setup.options["category"]:
        items = items.filter(lambda sample: (sample.metadata or {}).get("category") == category)
    referee = collect() if setup.baseline is None else beside(dict(setup.baseline), setup.judge)
    return Task(dataset=items, solver=generate(), scorer=referee, name=setup.benchmark.name)


def item(row: Row) -> Sample:
    """Return the item in a row of either version."""
    if "prompt" in row:
        return Sample(id=str(row["uid"]), input=row["prompt"], metadata={"category": row.get("category", "")})
    (turn,) = row["turns"]
    return Sample(id=str(row["question_id"]), input=turn["content"], metadata={"category": row.get("category", "")})


def _hub(name: str) -> Dataset:
    return json_dataset(_HUB.format(_FOLDER[name]), sample_fields=item)


@scorer(metrics=[mean()])
def beside(baseline: dict[str, str], judge: Model) -> Scorer:
    """Have the judge compare each answer with the baseline's, in both orders."""

    async def score(state: TaskState, target: Target) -> Score:
        ours, theirs = state.output.completion, baseline.get(str(state.sample_id))
        if theirs is None:
            return Score.unscored(reason="no_baseline")
        orders = ((theirs, ours), (ours, theirs))
        verdicts = await together(_verdict(judge, state.input_text, first, second) for first, second in orders)
        failed = next((verdict for verdict in verdicts if isinstance(verdict, Rejection)), None)
        if failed is not None:
            return Score.unscored(reason=f"judge_{failed.reason}", explanation=failed.detail)
        as_b, as_a = (_POINTS[verdict] for verdict in verdicts if isinstance(verdict, str))
        games = [(1 - as_b[0], as_b[1]), as_a]
        total = sum(weight for _, weight in games)
        won = Value(sum(points * weight for points, weight in games) / total, total)
        difference = style_difference(style_of(ours), style_of(theirs))
        return scored({"win_rate": won}, answer=ours, games=games, style=difference, flipped=abs(games[0][0] - as_a[0]) == 1)

    return score


async def _verdict(judge: Model, request: str, first: str, second: str) -> str | Rejection:
    messages = _prompt().fill({"request": request, "answer_a": first, "answer_b": second}, {})
    return await ask_judge(judge, messages, parse_verdict)


@cache
def _prompt() -> Prompt:
    return load_prompt(Path(__file__).parent / "prompts" / "arena_hard.md", _PLACES)


def parse_verdict(completion: str) -> Parsed[str] | Rejection:
    """Return the one verdict of a judge who may have written it several times."""
    found = set(_VERDICT.findall(completion))
    if len(found) != 1:
        return Rejection("no_verdict" if not found else "two_verdicts", f"{sorted(found)} in {completion[-200:]!r}")
    return Parsed(found.pop())


def summary(items: Sequence[Item], seed: int) -> dict[str, Estimate]:
    """Return the win rate with style, and with length alone, held constant, and how often the orders disagreed."""
    judged = [item for item in items if item.detail.get("games")]
    if not judged:
        return {}
    flips = [float(item.detail["flipped"]) for item in judged]
    return {
        "style_controlled": _controlled(judged, seed, lambda style: style),
        "length_controlled": _controlled(judged, seed, lambda style: style[:1]),
        "flip_rate": clustered_mean(flips, [item.group for item in judged], SHARES),
    }


def _controlled(items: Sequence[Item], seed: int, part: Callable[[Sequence[float]], Sequence[float]]) -> Estimate:
    games = [[Game("model", "baseline", points, weight) for points, weight in item.detail["games"]] for item in items]

    def win_rate(indices: Indices) -> float:
        chosen = [(game, part(items[place].detail["style"])) for place in indices for game in games[place]]
        found = strengths([game for game, _ in chosen], "baseline", [features for _, features in chosen])
        return 1 / (1 + math.exp(-found.by_player["model"]))

    return bootstrap(win_rate, [item.group for item in items], seed=seed, resamples=_RESAMPLES)
