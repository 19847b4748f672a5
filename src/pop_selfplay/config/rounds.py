"""What may change between rounds: when to end early, and which roles do not follow the policy."""

from typing import Literal

from pydantic import Field

from pop_selfplay.config.base import Config


class StopRules(Config):
    """When a run of several rounds ends early. A rule that is null never ends it."""

    min_gain: float | None = Field(
        None, description="a round helps when its measured gain over the best model before it is at least this"
    )
    gain_by: Literal["mean", "low", "high"] = Field(
        "mean", description="what is held against min_gain: the gain's mean, or an end of its 95 % interval"
    )
    patience: int = Field(1, ge=1, description="rounds in a row that must fail to help before the run ends")
    min_diversity: float | None = Field(
        None, gt=0, le=1, description="end before training when the problems are less diverse than this share of round 1's"
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="end before training when fewer pairs than this share agree with the truth"
    )

    @property
    def any_set(self) -> bool:
        return (self.min_gain, self.min_diversity, self.min_agreement) != (None, None, None)
