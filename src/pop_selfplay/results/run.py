"""result.json: the figures of a run, round by round, and of each training. `pop status --json` prints them while it runs.

The figures of a new trainer are a class here, and a member of `TrainingFigures`.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, JsonValue

from pop_selfplay.records import Record
from pop_selfplay.results.base import Count, Number, ReportedEstimate, Result, Share, Tokens


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


ByReason = dict[str, Count]
"""Short stable reason → how often."""


class OutcomeShares(Record):
    """What became of the facts that were asked in an exam: shares in [0, 1], 1 together."""

    known: Share = Field(description="stated right, without a hedge")
    hedged: Share = Field(description="stated right, with a hedge")
    wrong: Share = Field(description="stated wrong")
    omitted: Share = Field(description="not stated")


class Outcomes(Record):
    """The outcomes of an exam before and after."""

    before: OutcomeShares = Field(description="of the model before")
    after: OutcomeShares = Field(description="of the model after")


class Change(Record):
    """A model before and after: shares of facts known, in [0, 1] (exam), or mean scores, in [0, 2] (self-judged)."""

    before: ReportedEstimate = Field(description="of the model before")
    after: ReportedEstimate = Field(description="of the model after")
    gain: ReportedEstimate = Field(description="after minus before, paired by question or problem")
    outcomes: Outcomes | None = Field(
        None, exclude_if=lambda value: value is None, description="exam only: the shares of each outcome, before and after"
    )


Measure = dict[str, dict[str, Change]]
"""Group → mode → change. Groups: self_play and held_out (exam), or held_out_self_judged; modes: greedy and sampled."""


class CallCost(Record):
    """What the calls of one role in one round took."""

    calls: Count = Field(description="finished model calls, refused ones included")
    prompt: Count = Field(description="prompt tokens, cached ones included")
    cached: Count = Field(description="prompt tokens that a prefix cache held")
    generated: Count = Field(description="tokens that the model wrote")
    money: Number = Field(description="by the prices of the model that played, in their currency; 0 without any")


class _Player(Record):
    round: Count = Field(description="the round; 0 is the measurement of all models")
    role: str = Field(description="proposer, solver, rubric_writer or judge")


class RoleCost(CallCost, _Player):
    """What one role took in one round. All entries together are what the budget counts, but for the hours."""


class Ancestor(Record):
    """One model that played a role.

    `parent` is the round whose model it was trained from. `path` is relative for a model of this run, None where it is only
    served. `weights` is a hash of the model directory's weights and settings, None where they are not on this disk.
    """

    model: str = Field(description="the name under which its calls are stored")
    round: Count | None = Field(description="the round that trained it; 0 is the starting model, null a teacher")
    parent: Count | None = Field(description="the round whose model it was trained from; null for the starting model")
    path: str | None = Field(description="where it lies, relative for a model of this run; null where it is only served")
    weights: str | None = Field(description="hash of its weights and settings; null where they are not on this disk")


class NoFigures(Record):
    """Nothing was measured before the decision."""


class ProblemFigures(Record):
    """What a round's problems and pairs were like before its training."""

    diversity: float | None = Field(
        description="effective number of different problems, as a multiple of round 1's (≥ 0); null without problems"
    )
    agreement: ReportedEstimate = Field(
        description="share of pairs whose chosen answer is the truly better one, ties half, in [0, 1]; 0.5 is chance"
    )


class GainFigures(Record):
    """What a round's model has gained."""

    gain: ReportedEstimate = Field(description="gain of the measure's headline over the best model before")
    over_round: Count = Field(description="the round of the best model before; 0 is the starting model")
    best_round: Count = Field(description="the round of the best model now; 0 is the starting model")


class Decision(Record):
    """What was decided before the training of a round, or before the next round."""

    before: Literal["training", "next_round"] = Field(description="what was decided about")
    rule: str | None = Field(description="the stop rule that ended the run; null where it went on")
    says: str = Field(description="why, in words; empty where the run went on")
    figures: ProblemFigures | GainFigures | NoFigures = Field(description="what the decision rests on")


class _OfRound(Record):
    round: int = Field(ge=1, description="the round")


class RoundDecision(Decision, _OfRound):
    """A decision with its round."""


class BestModel(Record):
    """Which model is the result of the run."""

    round: Count = Field(description="the round that trained it; 0 is the starting model")
    path: str | None = Field(description="where it lies, relative for a model of this run; null where it is only served")
    best_by: str | None = Field(description="the figure by which it is the best, as group.mode; null without a measure")


class CriterionFigures(Record):
    """How well criteria tell candidates apart: means over all criteria, intervals clustered by document."""

    std: ReportedEstimate = Field(description="standard deviation of a criterion's ratings within a group, 0 to 1")
    difference: ReportedEstimate = Field(description="mean difference of two candidates' ratings on a criterion, 0 to 2")
    rate_all_alike: ReportedEstimate = Field(description="share of criteria by which all candidates fare alike, 0 to 1")


class ReferenceFigures(Record):
    """How reference answers fare by the rubrics (`synthesis.score_reference`)."""

    scored: Count = Field(description="reference answers with a score")
    below_median: Count = Field(description="of these, the ones that score below the median candidate")


class ProposerPairs(Record):
    """The pairs of problems that train the proposer (`pairing.proposer`)."""

    pairs: Count = Field(description="pairs of problems")
    dropped: ByReason = Field(description="documents that gave no pair, by stage.reason")


class Seconds(Record):
    """Wall-clock time over all sessions."""

    synthesis: float = Field(ge=0, description="seconds of synthesis")
    training: float = Field(ge=0, description="seconds of training, loading and saving included")
    measure: float = Field(ge=0, description="seconds of measurement; in round 1 the starting model's, too")


class RoundResult(Record):
    """The figures of one round."""

    round: int = Field(ge=1, description="its number, from 1")
    documents: Count = Field(description="documents chosen for the round")
    problems: Count = Field(description="episodes with a problem")
    candidates: Count = Field(description="valid answers, in the episodes that got enough of them")
    rubrics: Count = Field(description="episodes with a rubric")
    evaluations: Count = Field(description="candidates with a score")
    pairs: Count = Field(description="preference pairs, as the current pairing rules make them")
    dropped: ByReason = Field(description="what was lost, by stage.reason")
    proposer: ProposerPairs | None = Field(description="the pairs of problems; null without pairing.proposer")
    criteria: CriterionFigures = Field(description="how well criteria tell candidates apart; only of modes that rate")
    verify_agreement: ReportedEstimate = Field(
        description="boxed domains: how often a right final answer scores above a wrong one, ties half, 0 to 1"
    )
    reference_answers: ReferenceFigures = Field(description="how reference answers fare")
    lineage: dict[str, tuple[Ancestor, ...]] = Field(description="role → the models that played it, the latest at the end")
    decisions: tuple[Decision, ...] = Field(description="what the stop rules decided; empty for a run of one round without any")
    measure: Measure = Field(description="the start against this round's model: group → mode → change; empty while unmeasured")
    tokens: Tokens = Field(description="of all calls of the synthesis; measurement is not counted")
    usage: dict[str, CallCost] = Field(description="role → what its calls took")
    training: TrainingFigures | None = Field(description="the figures of the training; null until the round is trained")
    seconds: Seconds = Field(description="wall-clock time of each phase, over all sessions")


class RunResult(Result):
    """The content of result.json: the figures of a run, finished or not."""

    domain: str = Field(description="the name of the domain")
    seed: int = Field(description="decides every sample of the run")
    document: bool = Field(description="whether proposer and rubric writer both saw the document")
    rounds: tuple[RoundResult, ...] = Field(description="one entry for each round, in order; after a stop up to the last one")
    usage: tuple[RoleCost, ...] = Field(description="what each role took in each round")
    stopped: RoundDecision | None = Field(description="the decision that ended the run early; null where none has")
    model: BestModel | None = Field(description="which model is the result; null before there is one")
    roles: dict[str, ByReason] = Field(
        description="role → reason → calls, over all rounds and measurements; valid and repaired calls parsed"
    )
    refusals: dict[str, str] = Field(
        default_factory=dict,
        description="role → what the server said when it last refused a call of it",
    )
    measure: Measure = Field(
        description="the starting model against the best trained one: group → mode → change; empty until both are measured"
    )
