"""result.json: the figures of a run, round by round. `pop status --json` prints the same of an unfinished run."""

from typing import Literal

from pydantic import Field

from pop_selfplay.records import Record
from pop_selfplay.results.training import Count, Number, ReportedEstimate, Result, Share, Tokens, TrainingFigures

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
