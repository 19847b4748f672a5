"""What every benchmark is made of. Nothing here loads inspect_ai: the table of benchmarks can be read without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from pop_selfplay.stats.intervals import Estimate

Row = Mapping[str, Any]
"""One line of a data file, in the benchmark's own format."""


class Decoding(NamedTuple):
    """How the measured model samples. temperature ≥ 0, 0 < top_p ≤ 1, `epochs` answers to each item."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 6144
    epochs: int = 1


GREEDY: Final = Decoding()


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    `figures` are what it measures, the first one decides. `scale` is their largest possible value (where it is 1 they are shown
    in percent), `lowest` their smallest. `judged` ones need a judge. `versus` says whether answers of a baseline are needed,
    or used where there are any. `options` are the benchmark's own settings with their defaults. `shipped` ones have their items
    with inspect_evals.
    """

    name: str
    title: str
    module: str
    figures: tuple[str, ...]
    scale: float = 1.0
    lowest: float = 0.0
    judged: bool = False
    versus: Literal["", "used", "needed"] = ""
    decoding: Decoding = GREEDY
    shipped: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class Value(NamedTuple):
    """What one sample contributes to a figure: the figure is the mean of the values, weighted by the weights."""

    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class SampleScore:
    """What one sample scored: a value for each of the benchmark's figures, and what its summary needs besides.

    Items that are alike, two openings of one story say, have the same `cluster`; by default each item is one.
    """

    figures: Mapping[str, Value]
    detail: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""


@dataclass(frozen=True)
class Item:
    """One answer of one model to one item: what it scored, or in a stable word why it has no score (then no figures)."""

    id: str
    epoch: int
    figures: Mapping[str, Value] = field(default_factory=dict)
    lost: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""

    @property
    def group(self) -> str:
        """What is resampled together."""
        return self.cluster or self.id


@dataclass(frozen=True)
class Setup:
    """What a task is built from.

    `rows` are the items from a local data file, None where the hub's are to be used; `file(name)` reads another local file.
    `judge` is an inspect Model. `baseline` maps item ids to the answers that `versus` benchmarks compare with; None where this
    model's own answers are the baseline.
    """

    benchmark: Benchmark
    rows: Sequence[Row] | None
    file: Callable[[str], list[Row] | None]
    judge: Any = None
    baseline: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Tasks(Protocol):
    """A benchmark's module."""

    def make_task(self, setup: Setup) -> Any:
        """Return the inspect Task. Raises ConfigError when the data is not in the benchmark's format."""
        ...

    def read(self, sample: Any) -> SampleScore | str:
        """Return what a finished inspect EvalSample scored, or in a stable word why it has no score."""
        ...

    def summary(self, items: Sequence[Item], seed: int) -> dict[str, Estimate]:
        """Return the figures of all scored items together that are no means over items; most benchmarks have none."""
        ...
