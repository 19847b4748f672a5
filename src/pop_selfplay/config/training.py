"""How pairs become a better model."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pop_selfplay.config.base import Config


class DPOTraining(Config):
    """Offline DPO with TRL. The paper's values are the defaults; `dpo` takes any field of TRL's DPOConfig on top."""

    type: Literal["dpo"] = "dpo"
    dpo: dict[str, Any] = Field(default_factory=dict, description="fields of trl.DPOConfig, over the paper's values")
    batch_size: int = Field(16, ge=1, description="pairs per optimiser step, over all devices")
    held_out_share: float = Field(0.04, ge=0, lt=1, description="share of the pairs kept for evaluation")


class NoTraining(Config):
    """Synthesise and pair only."""

    type: Literal["none"] = "none"


TrainingConfig = Annotated[DPOTraining | NoTraining, Field(discriminator="type")]
