"""What several tasks share: datasets from rows, and how a sample's score is read."""

from collections.abc import Callable, Sequence
from typing import Any

from inspect_ai.dataset import Dataset, MemoryDataset, Sample
from inspect_ai.log import EvalSample
from inspect_ai.scorer import Score, value_to_float

from pop_selfplay.core.stats import Estimate
from pop_selfplay.evaluation.benchmarks.base import Item, Reading, Setup, Value
from pop_selfplay.evaluation.benchmarks.data import read_items

_AS_FLOAT = value_to_float()


def dataset(setup: Setup, read: Callable[[dict[str, Any]], Sample], hub: Callable[[], Dataset]) -> Dataset:
    """Return the local items, read by the benchmark's own function, or else those of the hub."""
    if setup.rows is None:
        return hub()
    return MemoryDataset(read_items(setup.rows, read, setup.benchmark.name), name=setup.benchmark.name)


def right_or_wrong(sample: EvalSample) -> Reading | str:
    """Return the accuracy of a sample that one scorer called right or wrong."""
    (score,) = (sample.scores or {"": None}).values()
    if score is None:
        return "no_score"
    return Reading({"accuracy": Value(_AS_FLOAT(score.value))})


def no_summary(items: Sequence[Item], seed: int) -> dict[str, Estimate]:
    """The summary of a benchmark whose figures are all means over items."""
    return {}


def scored(figures: dict[str, Value], *, answer: str = "", cluster: str = "", **detail: Any) -> Score:
    """Return the score of one of our own scorers; the first figure is its value, `of_own` reads the rest back."""
    kept = {"figures": {name: list(value) for name, value in figures.items()}, "detail": detail, "cluster": cluster}
    return Score(value=next(iter(figures.values())).value, answer=answer, metadata=kept)


def of_own(sample: EvalSample) -> Reading | str:
    """Return what one of our own scorers gave, or the reason for which it gave nothing."""
    (score,) = (sample.scores or {"": None}).values()
    if score is None:
        return "no_score"
    kept = score.metadata or {}
    if "figures" not in kept:
        return str(score.reason or "no_score")
    return Reading({name: Value(*value) for name, value in kept["figures"].items()}, kept["detail"], kept["cluster"])
