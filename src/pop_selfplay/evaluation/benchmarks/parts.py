"""What several tasks share: datasets from rows, and how a sample's score is read.

How our own tasks ask the judge: strictly parsed, asked again when half an answer came, and never guessed at.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from inspect_ai.dataset import Dataset, MemoryDataset, Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig, Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, value_to_float
from inspect_ai.solver import TaskState

from pop_selfplay.evaluation.benchmarks.base import GREEDY, Decoding, Item, Row, SampleScore, Setup, Value, read_items
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.records import Message
from pop_selfplay.stats.intervals import Estimate

_AS_FLOAT = value_to_float()


def dataset(setup: Setup, read: Callable[[Row], Sample], hub: Callable[[], Dataset]) -> Dataset:
    """Return the local items, read by the benchmark's own function, or else those of the hub."""
    if setup.rows is None:
        return hub()
    return MemoryDataset(read_items(setup.rows, read, setup.benchmark.name), name=setup.benchmark.name)


def right_or_wrong(sample: EvalSample) -> SampleScore | str:
    """Return the accuracy of a sample that one scorer called right or wrong."""
    (score,) = (sample.scores or {"": None}).values()
    if score is None:
        return "no_score"
    return SampleScore({"accuracy": Value(_AS_FLOAT(score.value))})


def no_summary(items: Sequence[Item], seed: int) -> dict[str, Estimate]:
    """The summary of a benchmark whose figures are all means over items."""
    return {}


def scored(figures: dict[str, Value], *, answer: str = "", cluster: str = "", **detail: Any) -> Score:
    """Return the score of one of our own scorers; the first figure is its value, `of_own` reads the rest back."""
    kept = {"figures": {name: list(value) for name, value in figures.items()}, "detail": detail, "cluster": cluster}
    return Score(value=next(iter(figures.values())).value, answer=answer, metadata=kept)


def of_own(sample: EvalSample) -> SampleScore | str:
    """Return what one of our own scorers gave, or the reason for which it gave nothing."""
    (score,) = (sample.scores or {"": None}).values()
    if score is None:
        return "no_score"
    kept = score.metadata or {}
    if "figures" not in kept:
        return str(score.reason or "no_score")
    return SampleScore({name: Value(*value) for name, value in kept["figures"].items()}, kept["detail"], kept["cluster"])


@scorer(metrics=[mean()])
def collect() -> Scorer:
    """The baseline beside itself: half a win on everything."""

    async def score(state: TaskState, target: Target) -> Score:
        return scored({"win_rate": Value(0.5)}, answer=state.output.completion, games=[])

    return score


T = TypeVar("T")

ATTEMPTS: Final = 3
RETRY_TEMPERATURE: Final = 0.7
"""A greedy judge would only repeat what could not be read."""


async def ask_judge(
    judge: Model,
    messages: Sequence[Message],
    parse: Callable[[str], Parsed[T] | Rejection],
    decoding: Decoding = GREEDY,
) -> T | Rejection:
    """Return what the judge says, sampled as `decoding` has it, or why its last answer could not be read."""
    rejection = Rejection("not_asked")
    conversation = [_chat(message) for message in messages]
    for attempt in range(ATTEMPTS):
        temperature = decoding.temperature or (RETRY_TEMPERATURE if attempt else 0.0)
        config = GenerateConfig(temperature=temperature, top_p=decoding.top_p, max_tokens=decoding.max_tokens)
        parsed = parse((await judge.generate(conversation, config=config)).completion)
        if not isinstance(parsed, Rejection):
            return parsed.value
        rejection = parsed
    return rejection


def _chat(message: Message) -> ChatMessage:
    return (ChatMessageSystem if message.role == "system" else ChatMessageUser)(content=message.content)
