"""duel.json: which of two models a judge prefers on the same prompts. All rates are those of the first one, `a`."""

from pydantic import Field

from pop_selfplay.records import Record
from pop_selfplay.results.base import Count, Number, ReportedEstimate, Result


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
