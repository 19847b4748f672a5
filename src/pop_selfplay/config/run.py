"""The config of one run: the root of the tree, what ends a run early, and what the parts demand of each other.

The next setting of a whole run is a field of `RunConfig`; a demand between two parts is a check in one of its validators.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from pop_selfplay.config.models import (
    OPERATIONAL,
    CorpusConfig,
    DocumentFilter,
    EndpointModel,
    ExamMeasure,
    MeasureConfig,
    ModelConfig,
    NoMeasure,
    PocketCorpus,
    SelfJudgedMeasure,
    SimulatedModel,
)
from pop_selfplay.config.synthesis import Pairing, Synthesis
from pop_selfplay.config.training import DPOTraining, Training, add_training
from pop_selfplay.config.validation import LONGEST_S, Config, Name, Place, Seed
from pop_selfplay.records import Role


class StopRules(Config):
    """When a run of several rounds ends early. A rule that is null never ends it."""

    min_gain: float | None = Field(
        None, description="a round helps when its measured gain over the best model before it is at least this"
    )
    gain_by: Literal["mean", "low", "high"] = Field(
        "mean", description="what is compared with min_gain: the gain's mean, or an end of its 95 % interval"
    )
    patience: int = Field(1, ge=1, le=1000, description="the run ends after this many rounds in a row that did not help")
    min_diversity: float | None = Field(
        None, gt=0, le=1, description="end before training when the problems' diversity falls below this share of round 1's"
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="end before training when less than this share of the pairs agree with the truth"
    )

    @property
    def any_set(self) -> bool:
        return (self.min_gain, self.min_diversity, self.min_agreement) != (None, None, None)


class Budget(Config):
    """What a run may spend. At a limit no new call is sent, those in flight finish, and the run stops, resumable."""

    tokens: int | None = Field(None, ge=1, le=10**15, description="most prompt and generated tokens, over all roles and rounds")
    money: float | None = Field(None, gt=0, le=1e12, description="most money, by the `prices` of the models")
    hours: float | None = Field(None, gt=0, le=1e6, description="most hours of work on the run, over all sessions")


class LocalRunner(Config):
    """The episodes are played in this process."""

    type: Literal["local"] = "local"


class RayRunner(Config):
    """The episodes of every round are played in shards by the workers of a Ray cluster; this process does all the rest."""

    type: Literal["ray"] = "ray"
    shards: int = Field(64, ge=1, le=1_000_000, description="parts of a round's documents, which workers take in turn")
    workers: int = Field(1, ge=1, le=100_000, description="processes that play episodes, one for each model server")
    gpus_per_worker: float = Field(0, ge=0, le=1024, description="GPUs that belong to each worker")
    cpus_per_worker: float = Field(1, ge=0, le=1024, description="CPUs that belong to each worker")
    address: Name | None = Field(None, description="the cluster to join, or auto; null starts one on this machine for the run")
    storage: Place | None = Field(
        None, description="folder or URL that all machines reach, for finished episodes and models; null: the run directory"
    )
    training_workers: int = Field(
        0,
        ge=0,
        le=10_000,
        description="processes that train dpo or sft, each with the GPUs and CPUs of a worker; 0: this one",
    )
    publish_s: float = Field(60, gt=0, le=LONGEST_S, description="how often a worker publishes what it has finished")
    lease_s: float = Field(600, gt=0, le=LONGEST_S, description="a worker that says nothing for so long loses its shards")
    patience_s: float = Field(
        600, ge=0, le=LONGEST_S, description="how long the storage may be down before the run stops (resumable)"
    )


Runner = Annotated[LocalRunner | RayRunner, Field(discriminator="type")]


class RunConfig(Config):
    """One run. `pop init` writes a commented example; `configs/` holds the paper's runs."""

    domain: Place = Field(description="a built-in domain or a path to a domain folder")
    corpus: CorpusConfig = Field(description="where documents come from")
    model: ModelConfig = Field(description="the policy: plays every role that has no teacher, and is trained")
    teachers: dict[Role, ModelConfig] = Field(default_factory=dict, description="a stronger model for single roles")
    seed: Seed = Field(42, description="random seed of the whole run")
    rounds: int = Field(1, ge=1, le=1000, description="most rounds of self-play, each with the model trained in the one before")
    stop: StopRules = StopRules()
    frozen_roles: list[Literal[Role.PROPOSER, Role.RUBRIC_WRITER, Role.JUDGE]] = Field(
        [], description="roles that the starting model plays in every round, instead of the policy"
    )
    budget: Budget = Budget()
    filter: DocumentFilter = DocumentFilter()
    synthesis: Synthesis = Synthesis()
    pairing: Pairing = Pairing()
    training: Training = Field(DPOTraining(), description="how a model is trained on what a round made")
    measure: MeasureConfig = Field(SelfJudgedMeasure(), description="how the models are measured, before and after")
    runner: Runner = Field(LocalRunner(), description="where episodes are played: in this process, or on a Ray cluster")

    def player(self, role: Role) -> ModelConfig:
        """Return the model that plays `role` in the first round: its teacher where it has one, else the policy."""
        return self.teachers.get(role, self.model)

    def same_work(self, other: "RunConfig") -> bool:
        """Tell whether `other` asks for the very same results, and differs at most in where, how fast and for how much."""
        return _work(self) == _work(other)

    @property
    def applied_measure(self) -> MeasureConfig:
        """What is measured: nothing where nothing is trained."""
        return self.measure if self.training.trains else NoMeasure()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "RunConfig":
        if self.pairing.reference_below_median == "drop" and not self.synthesis.score_reference:
            raise ValueError("pairing.reference_below_median drop needs synthesis.score_reference true")
        if isinstance(self.measure, ExamMeasure) and not isinstance(self.corpus, PocketCorpus):
            raise ValueError("measure.type exam needs corpus.type pocket, where the truth is known: use self_judged")
        if not self.training.trains and self.rounds > 1:
            raise ValueError("rounds above 1 need training: each round plays with the model trained in the one before")
        if self.training.trains:
            if isinstance(self.model, SimulatedModel):
                raise ValueError("model.type simulated has no weights to train: set training.type to none")
            if isinstance(self.model, EndpointModel) and self.model.weights is None:
                raise ValueError("training a served model needs its weights: set model.weights, or training.type none")
            if self.rounds > 1 and not self.training.makes_whole_model:
                raise ValueError("rounds above 1 need training.lora.merge true: the next round continues from a whole model")
        return self

    @model_validator(mode="after")
    def _rounds_fit_together(self) -> "RunConfig":
        if self.stop.min_gain is not None and isinstance(self.applied_measure, NoMeasure):
            raise ValueError("stop.min_gain needs a measure: without one there is no gain to compare")
        twice = sorted(role for role in self.frozen_roles if role in self.teachers)
        if twice:
            raise ValueError(f"frozen_roles: a teacher already plays the {twice[0]} in every round; remove one of them")
        if (self.pairing.frontier or self.pairing.proposer) and self.synthesis.mode.score_range is None:
            raise ValueError(
                f"pairing.frontier and pairing.proposer need absolute scores: with scoring "
                f"{self.synthesis.scoring} they are relative to the group; use pointwise, for example"
            )
        if self.pairing.proposer is not None and self.training.uses == "problems":
            raise ValueError(
                f"pairing.proposer makes pairs to train the proposer on, but training.type {self.training.type} uses no pairs: "
                "use dpo"
            )
        if self.pairing.proposer is not None and self.synthesis.problems_per_document == 1:
            raise ValueError(
                "pairing.proposer pairs problems of the same document, but synthesis.problems_per_document is 1: set it to 2 "
                "or more"
            )
        return self


def register_training(kind: type[Training]) -> None:
    """Let a run's `training` be of `kind`, by the default of its `type`. Raises ValueError when another kind has the name."""
    add_training(kind)
    RunConfig.model_rebuild(force=True)


_FREE: Final = OPERATIONAL - {"weights"}
"""Settings of a model that may change in the middle of a run. `weights` may not: they are what is trained."""


def _work(config: RunConfig) -> dict[str, Any]:
    """Return the settings that may not change in the middle of a run."""
    work = config.model_dump(mode="json", exclude={"budget": True, "runner": True, "synthesis": {"episodes_in_flight"}})
    for model in (work["model"], *work["teachers"].values(), work["training"].get("second_judge") or {}):
        for name in _FREE & model.keys():
            del model[name]
    return work


def changed_settings(old: RunConfig, new: RunConfig) -> list[str]:
    """Return what `new` asks for that is not the work of `old`, as "synthesis.candidates was 4, is 6"; a few at most."""
    before, now = (dict(_leaves(_work(config), "")) for config in (old, new))
    places = [place for place in (before | now) if before.get(place, _ABSENT) != now.get(place, _ABSENT)]
    told = [f"{place} was {_told(before, place)}, is {_told(now, place)}" for place in places[:_TOLD]]
    return told + ([f"{len(places) - _TOLD} more"] if len(places) > _TOLD else [])


_ABSENT: Final = object()
_TOLD: Final = 8


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, node


def _told(values: dict[str, Any], place: str) -> str:
    return f"{values[place]!r:.80}" if place in values else "not there"
