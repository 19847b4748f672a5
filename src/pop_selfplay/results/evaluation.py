"""eval.json: the figures of public benchmarks on a model, paired with the model it is compared with."""

from pydantic import Field, JsonValue

from pop_selfplay.records import Record
from pop_selfplay.results.base import Count, Number, ReportedEstimate, Result, Tokens


class DecodingResult(Record):
    """How the measured models sampled."""

    temperature: Number = Field(ge=0, description="0 is greedy")
    top_p: Number = Field(gt=0, le=1, description="nucleus sampling: the share of the probability that is kept")
    max_tokens: int = Field(ge=1, description="most tokens of an answer")
    epochs: int = Field(ge=1, description="answers to each item")


class PairedFigure(Record):
    """One figure of a benchmark: base, model, and the difference over the items that both have it for. n counts items."""

    base: ReportedEstimate | None = Field(description="of the model compared with; null without one")
    model: ReportedEstimate = Field(description="of the measured model")
    difference: ReportedEstimate | None = Field(description="model minus base, paired by item; null without a base")


class Lost(Record):
    """Answers without a score, by reason."""

    base: dict[str, Count] = Field(description="of the model compared with: reason → answers")
    model: dict[str, Count] = Field(description="of the measured model: reason → answers")


class Logs(Record):
    """The logs of inspect_ai, relative to the directory of the evaluation."""

    base: str | None = Field(description="of the model compared with; null without one")
    model: str = Field(description="of the measured model")


class BenchmarkResult(Record):
    """What one benchmark came to."""

    name: str = Field(description="the benchmark, as on the command line")
    title: str = Field(description="the same for people")
    scale: Number = Field(gt=0, description="the largest possible value of its figures; where it is 1 they are shares")
    limit: int | None = Field(description="items asked, drawn by the seed; null for all")
    decoding: DecodingResult = Field(description="how the models sampled")
    options: dict[str, JsonValue] = Field(description="the benchmark's own settings")
    figures: dict[str, PairedFigure] = Field(description="figure → its values, 0 (or the benchmark's lowest) to `scale`")
    summary: dict[str, ReportedEstimate] = Field(description="figures of the model that are no means over items")
    lost: Lost = Field(description="answers without a score")
    logs: Logs = Field(description="where the logs are")
    regressed: bool = Field(description="whether the whole interval of the first figure's difference is below 0")


class EvalResult(Result):
    """The content of eval.json: benchmarks on a model, paired with the model it is compared with."""

    suite: str = Field(description="the suite, benchmark or YAML file, as it was named")
    seed: int = Field(description="decides samples, subsets and resamples")
    model: str = Field(description="the measured model, as it was named; of a run RUN#ROUND")
    against: str | None = Field(description="the model it is compared with; null without one")
    judge: str | None = Field(description="the model that judges; null without one")
    benchmarks: tuple[BenchmarkResult, ...] = Field(description="one entry for each benchmark, in the order of the suite")
    regressed: tuple[str, ...] = Field(description="names of the benchmarks that have regressed")
    calls: dict[str, Count] = Field(description="role → calls, over all evaluations in the directory")
    tokens: Tokens = Field(description="tokens of all evaluations in the directory")
