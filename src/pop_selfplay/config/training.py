"""How a round's pairs, or its problems and rubrics, become a better model."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pop_selfplay.config.models import ModelConfig
from pop_selfplay.config.validation import Config


class LoRA(Config):
    """Train small matrices beside the weights instead of the weights (LoRA), with PEFT."""

    r: int = Field(16, ge=1, description="rank of the matrices")
    alpha: float = Field(32, gt=0, description="their effect is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of a matrix's inputs that is dropped while training")
    target_modules: str | list[str] = Field("all-linear", description="which layers get matrices: all-linear or their names")
    rslora: bool = Field(False, description="scale by alpha / √r instead, for high ranks")
    merge: bool = Field(True, description="add the matrices to the weights at the end, so that the result is a plain model")
    keep_adapter: bool = Field(False, description="keep the matrices of a merged model, too, in its folder adapter/")


class DPOTraining(Config):
    """Offline DPO with TRL. The paper's values are the defaults; `dpo` takes any field of TRL's DPOConfig on top."""

    type: Literal["dpo"] = "dpo"
    dpo: dict[str, Any] = Field(default_factory=dict, description="fields of trl.DPOConfig, over the paper's values")
    batch_size: int = Field(16, ge=1, description="pairs per optimiser step, over all devices")
    held_out_share: float = Field(0.04, ge=0, lt=1, description="share of the pairs kept for evaluation")
    keep_best: bool = Field(True, description="the result is as good on held-out pairs as the best step was, not just the last")
    lora: LoRA | None = Field(None, description="train LoRA matrices; without, all weights")
    quantization: Literal["4bit"] | None = Field(None, description="hold the frozen weights in 4 bits (QLoRA); needs lora")
    push_to_hub: str | None = Field(None, description="upload the finished model to this hub repository, owner/name")

    @model_validator(mode="after")
    def _quantized_weights_cannot_be_trained(self) -> "DPOTraining":
        if self.quantization is not None and self.lora is None:
            raise ValueError(
                "training.quantization trains no weights of its own: set training.lora, too (lora: {} for its defaults)"
            )
        return self


class GRPOTraining(Config):
    """Online RL with TRL's GRPO: the model answers the round's problems, a frozen judge scores each answer by the rubric.

    Not in the paper, which trains offline. What the fields of `grpo` start from, and why, is in `training/grpo_config.py`.
    """

    type: Literal["grpo"] = "grpo"
    grpo: dict[str, Any] = Field(default_factory=dict, description="fields of trl.GRPOConfig, over our values")
    batch_size: int = Field(64, ge=2, description="sampled answers per optimiser step")
    format_reward: float = Field(0.0, ge=0, description="added to the score of every answer that parses")
    length_penalty: float = Field(0.0, ge=0, description="taken off the score for every 100 words of the completion")
    lora: LoRA | None = Field(None, description="train LoRA matrices; without, all weights")
    second_judge: ModelConfig | None = Field(None, description="scores the same answers, for the log only")


class NoTraining(Config):
    """Synthesise and pair only."""

    type: Literal["none"] = "none"


TrainingConfig = Annotated[DPOTraining | GRPOTraining | NoTraining, Field(discriminator="type")]
