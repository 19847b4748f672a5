"""What every node of the config tree is made of."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of all config nodes: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
