"""Documents to scored candidates, and scored candidates to pairs."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pop_selfplay.config.validation import Config, Place
from pop_selfplay.errors import ConfigError
from pop_selfplay.judging import DEFAULT, MODES, ScoringMode, find_mode
from pop_selfplay.records import Role


class Sampling(Config):
    """How one role samples. `attempts` limits the tries until a call parses; the solver's group retries as one."""

    temperature: float = Field(1.0, ge=0, le=100, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling: the share of the probability that is kept")
    max_tokens: int = Field(6144, ge=1, le=10_000_000, description="most tokens of a completion")
    first_tokens: int | None = Field(
        None, ge=1, le=10_000_000, description="max_tokens of the first attempt: limits what a runaway costs"
    )
    attempts: int = Field(5, ge=1, le=1000, description="most tries until a completion parses")
    retry_temperature: float = Field(0.7, ge=0, le=100, description="temperature of later attempts where `temperature` is 0")


class SolverSampling(Sampling):
    """The solver's candidates are what is paired."""

    answer_tag: bool = Field(
        True, description="false: a completion without <answer> counts as a whole, for models that write no tags"
    )


class RubricWriterSampling(Sampling):
    """The rubric writer is greedy and writes the longest texts."""

    temperature: float = Field(0.0, ge=0, le=100, description="0 is greedy")
    max_tokens: int = Field(8192, ge=1, le=10_000_000, description="most tokens of a completion")


class JudgeSampling(Sampling):
    """The judge is greedy."""

    temperature: float = Field(0.0, ge=0, le=100, description="0 is greedy")
    max_tokens: int = Field(4096, ge=1, le=10_000_000, description="most tokens of a completion")


class EarlyStop(Config):
    """Score a few candidates, and solve more only while best and worst are too close."""

    first_share: float = Field(0.25, gt=0, le=1, description="share of the candidates solved at a time, at least 2")
    gap: float = Field(1.0, gt=0, le=100, description="stop once the best and the worst score differ by this much")


class Logprob(Config):
    """How ratings are read off the probabilities of the judge's tokens (scoring logprob)."""

    top: int = Field(10, ge=3, le=1000, description="most probable tokens requested at each position; servers allow 5 to 20")
    min_mass: float = Field(0.5, ge=0, le=1, description="least probability of 0, 1 and 2 together, else asked again")


class Reuse(Config):
    """Problems, candidates or rubrics of another run on the same documents, so that only one role changes."""

    run: Place = Field(description="the other run's directory")
    problems: bool = Field(True, description="take over problems and reference answers")
    candidates: bool = Field(True, description="take over candidates")
    rubrics: bool = Field(False, description="take over rubrics")

    @model_validator(mode="after")
    def _whatever_follows_from_a_problem_needs_it(self) -> "Reuse":
        if (self.candidates or self.rubrics) and not self.problems:
            raise ValueError("reuse: candidates and rubrics belong to their problems: also set problems to true")
        return self


def _known_mode(name: str) -> str:
    try:
        return find_mode(name).name
    except ConfigError as error:
        raise ValueError(str(error)) from error


class Synthesis(Config):
    """Documents to scored candidates (method, "One episode")."""

    documents: int = Field(4096, ge=1, le=100_000_000, description="documents per round")
    problems_per_document: int = Field(1, ge=1, le=1000, description="problems made from each document")
    candidates: int = Field(32, ge=2, le=10_000, description="answers per problem, n")
    min_valid_share: float = Field(0.25, ge=0, le=1, description="least share of the candidates that must parse and be scored")
    scoring: Annotated[str, AfterValidator(_known_mode)] = Field(
        DEFAULT, description="how candidates are scored; docs/scoring.md compares the modes", examples=list(MODES)
    )
    logprob: Logprob = Logprob()
    votes: int = Field(1, ge=1, le=1000, description="judgements per candidate or comparison; the score is their mean")
    early_stop: EarlyStop | None = Field(None, description="score a few candidates before solving more")
    score_reference: bool = Field(False, description="also score the reference answer; it is never paired")
    json_schema: bool = Field(False, description="ask the server to decode rubrics and evaluations by their JSON schema")
    constrain: Literal["auto", "none"] = Field(
        "none", description="auto: every completion is decoded by the grammar of its form, where its model can do that"
    )
    reuse: Reuse | None = Field(None, description="take problems, candidates or rubrics from another run")
    share_identical: bool = Field(False, description="judge identical answers to one problem once")
    document_for: list[Literal[Role.PROPOSER, Role.RUBRIC_WRITER]] = Field(
        [Role.PROPOSER, Role.RUBRIC_WRITER],
        description="roles that see the document; [proposer] and [] are the paper's ablations",
    )
    episodes_in_flight: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="documents worked on at once; null: enough to keep every server full; changes no result",
    )
    proposer: Sampling = Sampling()
    solver: SolverSampling = SolverSampling()
    rubric_writer: RubricWriterSampling = RubricWriterSampling()
    judge: JudgeSampling = JudgeSampling()

    @property
    def mode(self) -> ScoringMode:
        """The scoring mode that `scoring` names."""
        return find_mode(self.scoring)

    @property
    def candidates_at_once(self) -> int:
        """How many candidates are solved before the next look at the scores: all, unless the run stops early."""
        if self.early_stop is None:
            return self.candidates
        return min(self.candidates, max(2, math.ceil(self.early_stop.first_share * self.candidates)))

    def sampling(self, role: Role) -> Sampling:
        sampling = getattr(self, role.value)
        assert isinstance(sampling, Sampling)
        return sampling

    @model_validator(mode="after")
    def _rubric_needs_a_written_problem(self) -> "Synthesis":
        if Role.RUBRIC_WRITER in self.document_for and Role.PROPOSER not in self.document_for:
            raise ValueError("document_for: [rubric_writer] makes no sense: the problem would not come from the document")
        return self

    @model_validator(mode="after")
    def _scoring_fits_together(self) -> "Synthesis":
        if self.votes > 1 and self.judge.temperature == 0:
            raise ValueError(f"votes: {self.votes} of a greedy judge would all agree: set judge.temperature, to 0.7 say")
        if self.votes > 1 and not self.mode.takes_votes:
            raise ValueError(
                f"votes: {self.votes} make no sense with scoring {self.scoring}: its ratings already are means over all votes"
            )
        if self.early_stop is not None and self.mode.score_range is None:
            raise ValueError(f"early_stop needs absolute scores: scoring {self.scoring} compares the whole group")
        if self.score_reference and not self.mode.needs_rubric:
            raise ValueError(
                f"score_reference makes no sense with scoring {self.scoring}: it verifies against the reference answer"
            )
        return self


class Frontier(Config):
    """Problems at the frontier of what the solver can do: neither too easy nor too hard, and with answers that differ in score.

    Scores are normalised: 0 is the lowest possible score and 1 the highest.
    """

    min_mean: float = Field(0.2, ge=0, le=1, description="problems whose mean score is lower are too hard")
    max_mean: float = Field(0.8, ge=0, le=1, description="problems whose mean score is higher are too easy")
    min_std: float = Field(0.1, ge=0, le=0.5, description="problems whose scores vary less are too narrow")

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> "Frontier":
        if self.min_mean >= self.max_mean:
            raise ValueError(f"frontier: min_mean {self.min_mean} must be below max_mean {self.max_mean}")
        return self


class ProposerPairs(Config):
    """Pairs of problems of one document, to train the proposer: the problem whose scores spread more is preferred."""

    min_gap: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="smallest difference between the standard deviations of the two problems' normalised scores",
    )


class Pairing(Config):
    """Best against worst, and which pairs are dropped (method, "Episodes to preference pairs")."""

    min_std: float = Field(0.001, ge=0, le=100, description="problems whose scores vary less are dropped")
    max_word_difference: int | None = Field(
        100, ge=0, le=10_000_000, description="guard against length bias; null switches it off"
    )
    near_duplicate_problems: float | None = Field(
        0.8, gt=0, le=1, description="of two problems at least this similar only one gives a pair; null keeps both"
    )
    reference_below_median: Literal["keep", "drop"] = Field(
        "keep", description="problems whose reference answer scores below the median candidate"
    )
    frontier: Frontier | None = Field(None, description="keep only problems of middle difficulty; null keeps all")
    proposer: ProposerPairs | None = Field(None, description="also pair problems of one document, to train the proposer")
