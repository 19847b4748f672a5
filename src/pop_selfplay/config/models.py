"""Which model plays, and where it works."""

from typing import Annotated, Literal

from pydantic import Field

from pop_selfplay.config.base import Config


class LocalModel(Config):
    """A transformers model loaded in this process, with concurrent requests batched together."""

    type: Literal["local"] = "local"
    path: str = Field(description="model directory or hub name")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int = Field(65536, ge=1, description="most prompt + generated tokens of one batch")
    revision: str | None = None


class PocketModel(Config):
    """The embedded pocket model: 1-3 million parameters, runs anywhere."""

    type: Literal["pocket"] = "pocket"


class EndpointModel(Config):
    """Any OpenAI-compatible chat server."""

    type: Literal["endpoint"] = "endpoint"
    base_url: str = Field(description="up to and including /v1")
    model: str = Field(description="the name the server knows the model by")
    api_key_env: str | None = Field(None, description="environment variable that holds the key")
    weights: str | None = Field(None, description="the same model as a directory or hub name, to train it")
    max_in_flight: int = Field(256, ge=1, description="requests sent at once")
    timeout_s: float = Field(1800, gt=0, description="longest wait for one answer")
    patience_s: float = Field(600, ge=0, description="how long a server may be down before the run stops (resumable)")


class SimulatedModel(Config):
    """The shipped fake: seeded, role-aware pseudo-text in process, with faults. For tests and for sizing a run."""

    type: Literal["simulated"] = "simulated"
    seed: int = 0
    malformed_rate: float = Field(0.0, ge=0, le=1, description="share of completions that do not parse")
    seconds_per_call: float = Field(0.0, ge=0)


ModelConfig = Annotated[LocalModel | PocketModel | EndpointModel | SimulatedModel, Field(discriminator="type")]
