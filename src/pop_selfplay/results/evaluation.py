"""eval.json: the figures of public benchmarks on a model, paired with the model it is compared with.

duel.json: which of two models a judge prefers on the same prompts. All rates are those of the first one, `a`.
"""

from pydantic import Field, JsonValue

from pop_selfplay.records import Record
from pop_selfplay.results.base import Count, Number, PairedFigure, ReportedEstimate, Result, Tokens


class DecodingResult(Record):
    """How the measured models sampled."""

    temperature: Number = Field(ge=0, description="0 is greedy")
    top_p: Number = Field(gt=0, le=1, description="nucleus sampling: the share of the probability that is kept")
    max_tokens: int = Field(ge=1, description="most tokens of an answer")
    epochs: int = Field(ge=1, description="answers to each item")


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


class PromptsAsked(Record):
    """What was asked."""

    source: str = Field(description="the file, or the run and its round")
    count: Count = Field(description="prompts")
    samples: int = Field(ge=1, description="answers of each model to each prompt")


class MeanWords(Record):
    """How long the answers are, over the prompts that both answered; null without any."""

    a: Number | None = Field(description="mean words of an answer of a")
    b: Number | None = Field(description="mean words of an answer of b")


class LengthFigures(Record):
    """The win rate that is left when both answers are equally long."""

    win_rate: ReportedEstimate = Field(description="length-controlled win rate of a, 0 to 1")
    effect: Number = Field(description="coefficient of the difference in length, in log odds; > 0 where longer answers win")
    difficulty_effect: Number | None = Field(description="coefficient of the prompts' difficulty, in log odds; null without")
    mean_words: MeanWords = Field(description="how long the answers are")


class WinCount(Record):
    """On how many answers a was rated above b on a criterion."""

    wins: Count = Field(description="a above b")
    ties: Count = Field(description="both alike")
    losses: Count = Field(description="a below b")


class CriteriaFigures(Record):
    """How the two fare on the criteria of the rubrics."""

    win_rate: ReportedEstimate = Field(description="share of criteria on which a is above b, ties half, by weight; 0 to 1")
    score_lead: ReportedEstimate = Field(description="a's score by the rubric minus b's, -2 to 2")
    by_name: dict[str, WinCount] = Field(description="criterion → counts, of the most frequent ones")


class SideCounts(Record):
    """A count for each side."""

    a: Count = Field(description="of a")
    b: Count = Field(description="of b")


class DuelResult(Result):
    """The content of duel.json: which of two models a judge prefers. All rates are those of `a`."""

    a: str = Field(description="the first model, as it was named; of a run RUN#ROUND")
    b: str = Field(description="the other model")
    judge: str = Field(description="the model that judges")
    prompts: PromptsAsked = Field(description="what was asked")
    temperature: Number = Field(ge=0, description="of the answers; 0 is greedy")
    seed: int = Field(description="decides samples, subsets and resamples")
    win_rate: ReportedEstimate = Field(description="mean preference for a over both orders, 0 to 1; n counts verdicts")
    wins: Count = Field(description="verdicts for a")
    ties: Count = Field(description="verdicts for neither")
    losses: Count = Field(description="verdicts for b")
    flip_rate: ReportedEstimate = Field(description="share of verdicts that change with the order of the answers, 0 to 1")
    length: LengthFigures = Field(description="the win rate at equal length")
    criteria: CriteriaFigures | None = Field(description="the criteria of the rubrics; null without rubrics")
    forfeits: SideCounts = Field(description="prompts lost because a side gave no valid answer")
    lost: dict[str, Count] = Field(description="prompts without a verdict, by reason")
