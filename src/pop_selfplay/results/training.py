"""An estimate as every result file has it, and the figures a training ends with. A new trainer's figures go here."""

import json
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, JsonValue, WithJsonSchema

from pop_selfplay.records import Record
from pop_selfplay.stats.intervals import Estimate

Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
"""A finite number, written as it came: 1 stays 1."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ReportedEstimate(Record):
    """A mean with its 95 % interval, rounded to 6 decimals; null where it cannot be told."""

    mean: Number | None = Field(description="the mean, in the unit of the figure; null over no observations")
    low: Number | None = Field(description="lower end of the 95 % interval; null where the spread is unknown")
    high: Number | None = Field(description="upper end of the 95 % interval; null where the spread is unknown")
    n: Count = Field(description="observations that the mean is taken over")

    @classmethod
    def of(cls, estimate: Estimate) -> "ReportedEstimate":
        """Return an estimate as result files hold it: rounded, and null where it is not finite."""
        return cls.model_validate(estimate.as_json())


class Tokens(Record):
    """Tokens of many calls, as the models' servers count them."""

    prompt: Count = Field(description="prompt tokens, cached ones included")
    cached: Count = Field(description="prompt tokens that a prefix cache held")
    generated: Count = Field(description="tokens that the models wrote")


class Result(Record):
    """Base of the result files. `model_dump()` gives its content as dicts and lists, `to_json()` as the file holds it."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_: Literal[1] = Field(1, alias="schema", description="1; another number means that fields changed their meaning")

    def to_json(self) -> str:
        """Return the text of the result file: JSON with one field on each line."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class HeldOutFigures(Record):
    """What the pairs kept out of training show, before and after it. Each trainer on pairs has its own."""

    @property
    def quality(self) -> float:
        """By what the best step is chosen: higher is better."""
        raise NotImplementedError


H = TypeVar("H", bound=HeldOutFigures)


class HeldOut(HeldOutFigures):
    """DPO: the pairs kept out of training, before and after it. All shares are in [0, 1].

    `likelier_*` is the share of pairs whose chosen answer the model finds likelier than the rejected one, which can be compared
    before and after. `reward_accuracy` is the share whose chosen answer gained more log-probability than the rejected one; it
    is only defined after training, because before it the policy equals the reference model and every reward is 0.
    """

    likelier_before: Share = Field(description="share of pairs whose chosen answer was likelier before training, 0 to 1")
    likelier_after: Share = Field(description="share of pairs whose chosen answer is likelier after training, 0 to 1")
    reward_accuracy: Share = Field(description="share of pairs whose chosen answer gained more log-probability, 0 to 1")
    reward_margin: float = Field(description="mean reward of chosen minus rejected, β times nats")

    @property
    def quality(self) -> float:
        return self.reward_accuracy


class HeldOutAnswers(HeldOutFigures):
    """SFT: the chosen answers of the pairs kept out of training, before and after it.

    Losses are −log p per token of all answers together, in nats.
    """

    loss_before: float = Field(description="loss before training, in nats per token of an answer")
    loss_after: float = Field(description="loss after training, in nats per token of an answer")
    likelier: Share = Field(description="share of answers that gained probability, 0 to 1")

    @property
    def quality(self) -> float:
        return -self.loss_after


class OfflineResult(Record, Generic[H]):
    """A finished training on pairs. `tokens` counts what the policy was trained on, prompts and answers, over all epochs.

    `dropped` holds the pairs not used, by reason (training/data.py). Losses are those of the first and last logged step.
    """

    pairs_trained: int = Field(ge=1, description="pairs trained on")
    pairs_held_out: Count = Field(description="pairs kept out, to measure on")
    dropped: dict[str, int] = Field(description="pairs not used, by reason")
    steps: int = Field(ge=1, description="optimizer steps")
    best_step: int | None = Field(None, description="the step whose weights were kept, null for the last")
    first_loss: float = Field(description="loss of the first logged step, in nats per pair (DPO) or per token (SFT)")
    last_loss: float = Field(description="loss of the last logged step, in nats per pair (DPO) or per token (SFT)")
    held_out: H | None = Field(description="the pairs held out, before and after; null when there are none")
    seconds: float = Field(ge=0, description="wall-clock seconds of everything, loading and saving too")
    tokens: Count = Field(description="tokens trained on, prompts and answers, over all epochs")


class TrainingResult(OfflineResult[HeldOut]):
    """A finished DPO training: both answers of each pair were trained on."""


class SFTResult(OfflineResult[HeldOutAnswers]):
    """A finished supervised fine-tuning: the chosen answer of each pair was trained on."""


class OnlineResult(Record):
    """A finished online training. `tokens` counts prompts and answers over all steps, `generated_tokens` the answers alone.

    Rewards are means over the first and the last tenth of the steps (at least one); `judge_failures` and `invalid` count the
    sampled answers without a score and those that did not parse, by reason.
    """

    problems: int = Field(ge=1, description="problems trained on")
    dropped: dict[str, int] = Field(description="problems not used, by reason")
    steps: int = Field(ge=1, description="optimizer steps")
    samples: int = Field(ge=1, description="sampled answers")
    judge_failures: dict[str, int] = Field(description="sampled answers without a score, by reason")
    invalid: dict[str, int] = Field(description="sampled answers that did not parse, by reason")
    first_reward: float | None = Field(description="mean reward of the first tenth of the steps; null without any score")
    last_reward: float | None = Field(description="mean reward of the last tenth of the steps; null without any score")
    kl: float | None = Field(description="divergence from the start at the last step, in nats per token; null with beta 0")
    seconds: float = Field(ge=0, description="wall-clock seconds of everything, loading and saving too")
    tokens: Count = Field(description="tokens of prompts and answers, over all steps")
    generated_tokens: Count = Field(description="tokens of the sampled answers")


class OtherTraining(Record):
    """The figures of a trainer that this version does not know, as it gave them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)


TrainingFigures = Annotated[TrainingResult | SFTResult | OnlineResult | OtherTraining, Field(union_mode="left_to_right")]
"""The figures of one training, by whichever trainer."""
