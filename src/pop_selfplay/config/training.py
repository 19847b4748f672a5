"""How a round's pairs, or its problems and rubrics, become a better model: one type of settings per trainer.

What the rest of the house asks about a trainer is declared on its type here (`uses`, `makes_whole_model`), so no other module
has to know its name. To add one, write a subclass of `Training`, or of `OfflineTraining` for one on pairs that takes fields of
TRL's config, and add it at the end of this file; another package calls `pop_selfplay.training.register` instead.
"""

import functools
import operator
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

from pop_selfplay.config.models import ModelConfig
from pop_selfplay.config.validation import Config, Name, Variants
from pop_selfplay.errors import ConfigError

ENTRY_POINTS: Final = "pop_selfplay.trainers"
"""Group of the entry points of installed packages: each names a module that registers its trainer when it is imported."""

Fields: TypeAlias = dict[str, Any]
"""Arguments of a class of TRL or transformers, by their names there: that class decides which values are valid."""

Kind = type[Variants]

_TYPES: Final[dict[str, Kind]] = {}
"""Every known type by its name."""


class LoRA(Config):
    """Train small matrices added to the frozen weights (LoRA), with PEFT."""

    r: int = Field(16, ge=1, le=65536, description="rank of the matrices")
    alpha: float = Field(32, gt=0, le=1e6, description="their effect is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the inputs dropped during training")
    target_modules: Name | list[Name] = Field("all-linear", description="which layers get matrices: all-linear or their names")
    rslora: bool = Field(False, description="scale by alpha / √r instead, for high ranks")
    merge: bool = Field(True, description="merge the matrices into the weights at the end: the result is a plain model")
    keep_adapter: bool = Field(False, description="also keep the matrices of a merged model, in its folder adapter/")


class Training(Variants):
    """Base of all types of `training`. A field of this type holds any of them, told apart by `type`."""

    type: str

    uses: ClassVar[Literal["pairs", "problems"] | None]
    """What it trains on: preference pairs; problems with their rubrics; None: it trains nothing, and no weights are needed."""

    @property
    def trains(self) -> bool:
        """Whether a round ends with a model."""
        return self.uses is not None

    @property
    def makes_whole_model(self) -> bool:
        """Whether the result is a plain model, which the next round can train further, and not an adapter to one."""
        return True

    @property
    def repository(self) -> str | None:
        """The hub repository that its models are uploaded to, None where they stay here."""
        return None

    @classmethod
    def variants(cls) -> Mapping[str, Kind]:
        """Return every known type by its name; {} for one of them."""
        return _TYPES if _TYPES and cls is Training else {}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = cls.variants()
        if not known:
            return handler(source)
        return handler.generate_schema(Annotated[functools.reduce(operator.or_, known.values()), Field(discriminator="type")])


class OfflineTraining(Training):
    """What trainers on pairs that ask no judge have in common. Each adds a field, named as its `type`, for TRL's settings."""

    uses: ClassVar[Literal["pairs", "problems"] | None] = "pairs"

    batch_size: int = Field(16, ge=1, le=1_000_000, description="pairs per optimiser step, summed over devices")
    held_out_share: float = Field(0.04, ge=0, lt=1, description="share of the pairs kept for evaluation")
    keep_best: bool = Field(True, description="keep the checkpoint that does best on held-out pairs, not the last one")
    lora: LoRA | None = Field(None, description="train LoRA matrices; null: all weights")
    quantization: Literal["4bit"] | None = Field(None, description="load the frozen weights in 4 bits (QLoRA); needs lora")
    push_to_hub: Name | None = Field(None, description="upload the finished model to this hub repository, owner/name")

    @property
    def repository(self) -> str | None:
        return self.push_to_hub

    @property
    def fields(self) -> Fields:
        """The user's fields of TRL's config."""
        raise NotImplementedError

    @property
    def makes_whole_model(self) -> bool:
        return self.lora is None or self.lora.merge

    @model_validator(mode="after")
    def _quantized_weights_cannot_be_trained(self) -> "OfflineTraining":
        if self.quantization is not None and self.lora is None:
            raise ValueError("training.quantization freezes the weights: also set training.lora (lora: {} for its defaults)")
        return self


class DPOTraining(OfflineTraining):
    """Offline DPO with TRL. The paper's values are the defaults; `dpo` takes any field of TRL's DPOConfig on top."""

    type: Literal["dpo"] = "dpo"
    dpo: Fields = Field(default_factory=dict, description="fields of trl.DPOConfig, over the paper's values")

    @property
    def fields(self) -> Fields:
        return self.dpo


class SFTTraining(OfflineTraining):
    """Supervised fine-tuning with TRL on each problem's best answer (rejection sampling).

    Not in the paper: it is what DPO is compared with. What the fields of `sft` start from, and why, is in `training/sft.py`.
    """

    type: Literal["sft"] = "sft"
    sft: Fields = Field(default_factory=dict, description="fields of trl.SFTConfig, over our values")

    @property
    def fields(self) -> Fields:
        return self.sft


class GRPOTraining(Training):
    """Online RL with TRL's GRPO: the model answers the round's problems, a frozen judge scores each answer by the rubric.

    Not in the paper, which trains offline. What the fields of `grpo` start from, and why, is in `training/grpo_trainer.py`.
    """

    uses: ClassVar[Literal["pairs", "problems"] | None] = "problems"

    type: Literal["grpo"] = "grpo"
    grpo: Fields = Field(default_factory=dict, description="fields of trl.GRPOConfig, over our values")
    batch_size: int = Field(64, ge=2, le=1_000_000, description="sampled answers per optimiser step")
    format_reward: float = Field(0.0, ge=0, le=1000, description="added to the score of every answer that parses")
    length_penalty: float = Field(0.0, ge=0, le=1000, description="subtracted from the score for every 100 words")
    lora: LoRA | None = Field(None, description="train LoRA matrices; null: all weights")
    second_judge: ModelConfig | None = Field(None, description="also scores the answers, for the log only")

    @property
    def makes_whole_model(self) -> bool:
        return self.lora is None or self.lora.merge


class NoTraining(Training):
    """Synthesis and pairing only."""

    uses: ClassVar[Literal["pairs", "problems"] | None] = None

    type: Literal["none"] = "none"


def add_training(kind: type[Training]) -> None:
    """Let `training.type` be that of `kind`. Raises ValueError when another kind has the name."""
    name = kind.model_fields["type"].default
    if _TYPES.setdefault(name, kind) is not kind:
        raise ValueError(f"training.type {name} already is {_TYPES[name].__qualname__}: give {kind.__qualname__} another name")


for _kind in (DPOTraining, SFTTraining, GRPOTraining, NoTraining):
    add_training(_kind)


def load_installed_training(name: str) -> None:
    """Let the installed package that brings the trainer `name`, if any, register it.

    Nothing is imported before a config names it, so a broken package only affects runs that use it. Raises
    ConfigError for one that cannot be imported or does not register what it says.
    """
    for found in entry_points(group=ENTRY_POINTS, name=name):
        where = f"the trainer {name} of an installed package ({found.value})"
        try:
            found.load()
        except Exception as error:  # another package's import may raise anything
            cause = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{where} cannot be loaded: {cause}. Repair or uninstall the package") from error
        if name not in _TYPES:
            raise ConfigError(f"{where} must call pop_selfplay.training.register with settings whose type is {name!r}")
