"""What is measured before and after."""

from typing import Annotated, Literal

from pydantic import Field

from pop_selfplay.config.base import Config


class ExamMeasure(Config):
    """Closed-book questions with known answers. Only the pocket world has them."""

    type: Literal["exam"] = "exam"
    questions_per_plant: int = Field(4, ge=1)
    samples: int = Field(2, ge=1, description="sampled answers per question, besides the greedy one")


class SelfJudgedMeasure(Config):
    """Held-out documents: the starting model writes problems and rubrics and judges both models' answers."""

    type: Literal["self_judged"] = "self_judged"
    documents: int = Field(64, ge=1)
    samples: int = Field(4, ge=1, description="answers per problem and model")


class NoMeasure(Config):
    type: Literal["none"] = "none"


MeasureConfig = Annotated[ExamMeasure | SelfJudgedMeasure | NoMeasure, Field(discriminator="type")]
