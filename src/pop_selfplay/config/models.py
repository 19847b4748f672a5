"""Which model plays, and where it runs; where documents come from, which of them are used, and what is measured on them."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from pop_selfplay.config.validation import LONGEST_S, Config, Name, Place, Seed
from pop_selfplay.records import Role

_VARIABLE: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_NOTHINGS: Final = {"None", "none", "NULL", "nil"}


class Prices(Config):
    """What a model's tokens cost, in money per million tokens. Use one currency throughout; pop only adds the amounts up."""

    prompt: float = Field(0.0, ge=0, le=1e9, description="for prompt tokens that the server had to process")
    cached: float | None = Field(None, ge=0, le=1e9, description="for prompt tokens from the server's cache; null: as `prompt`")
    generated: float = Field(0.0, ge=0, le=1e9, description="for generated tokens")

    def money(self, prompt: int, cached: int, generated: int) -> float:
        """Return what a call costs. `prompt` counts all prompt tokens, `cached` those of them that came from the cache."""
        of_cached = self.prompt if self.cached is None else self.cached
        return ((prompt - cached) * self.prompt + cached * of_cached + generated * self.generated) / 1e6


class RoleThinking(Config):
    """Whether a reasoning model thinks before it answers. null: the model's own default."""

    enabled: bool | None = Field(None, description="true: it thinks first; false: it answers at once")
    budget: int | None = Field(None, ge=1, le=10_000_000, description="most tokens of thinking, where the server can limit it")


AS_IT_DOES: Final = RoleThinking()
"""Nothing is said about thinking."""


class Thinking(RoleThinking):
    """Thinking for all roles, and exceptions for single roles."""

    roles: dict[Role, RoleThinking] = Field({}, description="role → its own setting")

    def of(self, role: Role) -> RoleThinking:
        """Return what holds for one role."""
        return self.roles.get(role, self)


class LocalModel(Config):
    """A transformers model loaded in this process, with concurrent requests batched together."""

    type: Literal["local"] = "local"
    path: Place = Field(description="model directory or hub name")
    device: Name = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="precision of the weights")
    batch_tokens: int = Field(65536, ge=1, le=100_000_000, description="most prompt + generated tokens of one batch")
    revision: Name | None = Field(None, description="branch, tag or commit on the hub; null takes the default branch")
    thinking: Thinking = Thinking()


class PocketModel(Config):
    """The embedded pocket model: 1-3 million parameters, runs anywhere."""

    type: Literal["pocket"] = "pocket"


class EndpointModel(Config):
    """Any OpenAI-compatible chat server."""

    type: Literal["endpoint"] = "endpoint"
    base_url: Name | None = Field(None, description="the server's address, up to and including /v1")
    base_urls: list[Name] = Field([], description="instead of base_url: replicas; the calls of one episode stay on one")
    model: Name = Field(description="the name the server knows the model by")
    api_key_env: Name | None = Field(None, description="environment variable that holds the key")
    weights: Place | None = Field(None, description="the same model as a directory or hub name, to train it")
    n: Literal["auto", "never"] = Field("auto", description="ask for up to eight candidates in one call where the server can")
    max_in_flight: int = Field(512, ge=1, le=100_000, description="completions requested at once, for each server")
    requests_per_minute: int | None = Field(None, ge=1, le=100_000_000, description="the provider's limit, for each server")
    tokens_per_minute: int | None = Field(None, ge=1, le=100_000_000_000, description="the provider's limit, for each server")
    timeout_s: float = Field(1800, gt=0, le=LONGEST_S, description="longest wait for one answer")
    patience_s: float = Field(
        600, ge=0, le=LONGEST_S, description="how long a server may be down before the run stops (resumable)"
    )
    prices: Prices | None = Field(None, description="what its tokens cost; null: nothing, or unknown")
    thinking: Thinking = Thinking()
    extra_body: dict[str, Any] = Field({}, description="further fields of every request, as the server names them")
    omit: list[Name] = Field([], description="parameters that are not sent, such as seed; refused ones are learned")
    rename: dict[Name, Name] = Field({}, description="our name for a parameter → the server's")
    dialect: Literal["auto", "openai", "anthropic"] = Field(
        "auto", description="the API: OpenAI's chat completions or Anthropic's Messages; auto: by the address"
    )
    batch: bool = Field(False, description="send calls as batches: cheaper, but answered within a day")
    batch_poll_s: float = Field(30, gt=0, le=LONGEST_S, description="how often to ask whether a batch is done")
    max_reply_mb: float = Field(32, gt=0, le=1024, description="longest reply that is read, in MB")

    @property
    def urls(self) -> list[str]:
        """The addresses of all replicas."""
        return self.base_urls or [self.base_url or ""]

    @model_validator(mode="after")
    def _has_an_address(self) -> "EndpointModel":
        if (self.base_url is None) == (not self.base_urls):
            raise ValueError("model.type endpoint needs either base_url, or base_urls for several replicas")
        if len(set(self.base_urls)) < len(self.base_urls):
            raise ValueError("base_urls names a server twice")
        if any("@" in url.partition("://")[2].partition("/")[0] for url in self.urls):
            raise ValueError(
                "a server's address contains a user name or password: put the key into an environment "
                "variable, and the variable's name into api_key_env"
            )
        if self.api_key_env is not None and (self.api_key_env in _NOTHINGS or not _VARIABLE.fullmatch(self.api_key_env)):
            raise ValueError(  # without its value, which may be the key itself
                "api_key_env must be the name of an environment variable, as OPENAI_API_KEY, and never the key; "
                "leave it out, or write null, where no key is needed"
            )
        return self


class VllmModel(Config):
    """A model that the run serves itself with vLLM, which can be installed in another environment."""

    type: Literal["vllm"] = "vllm"
    path: Place = Field(description="model directory or hub name; it is also what is trained")
    executable: Place = Field("vllm", description="the vllm command, or its path in another environment")
    args: list[str] = Field([], description="further arguments of `vllm serve`")
    env: dict[Name, str] = Field(
        {}, description="environment variables of the server, beside those of the run; not for secrets, since it is stored"
    )
    gpus: list[Annotated[int, Field(ge=0, le=1023)]] | None = Field(
        None, description="indices of the GPUs it uses; null: all visible ones"
    )
    tensor_parallel: int = Field(1, ge=1, le=1024, description="GPUs that share one copy of the model")
    data_parallel: int = Field(1, ge=1, le=1024, description="copies of the model")
    thinking: Thinking = Thinking()
    startup_s: float = Field(1800, gt=0, le=LONGEST_S, description="longest wait for the server to be ready")
    n: Literal["auto", "never"] = Field("auto", description="ask for up to eight candidates in one call")
    max_in_flight: int = Field(512, ge=1, le=100_000, description="completions requested at once")
    timeout_s: float = Field(1800, gt=0, le=LONGEST_S, description="longest wait for one answer")
    patience_s: float = Field(
        600, ge=0, le=LONGEST_S, description="how long the server may be down before the run stops (resumable)"
    )


MistakeName = Literal[
    "no_tags",
    "never_closed",
    "said_twice",
    "empty_tags",
    "cut_short",
    "broken_json",
    "wrong_types",
    "duplicate_names",
    "zero_weight",
    "negative_weight",
    "omitted_criterion",
]
Share = Annotated[float, Field(ge=0, le=1)]


class SimulatedModel(Config):
    """The shipped fake: seeded, role-aware pseudo-text in process, with faults. For tests and for sizing a run."""

    type: Literal["simulated"] = "simulated"
    seed: Seed = Field(0, description="random seed of the texts")
    lengths: Literal["brief", "realistic"] = Field("brief", description="how long the texts are")
    malformed_rate: Share = Field(0.0, description="share of completions that do not parse, spread evenly over all mistakes")
    mistakes: dict[MistakeName, Share] = Field({}, description="mistake → share of completions with that mistake")
    runaway_rate: Share = Field(0.0, description="share of answers that never end, up to the token limit")
    seconds_per_call: float = Field(0.0, ge=0, le=LONGEST_S, description="seconds that each call takes")


ModelConfig = Annotated[LocalModel | PocketModel | EndpointModel | VllmModel | SimulatedModel, Field(discriminator="type")]

OPERATIONAL: Final = frozenset(
    {
        *("base_url", "base_urls", "api_key_env", "weights", "timeout_s", "patience_s", "prices"),
        *("n", "max_in_flight", "requests_per_minute", "tokens_per_minute"),
        *("omit", "rename", "max_reply_mb", "dialect", "batch", "batch_poll_s"),
        *("executable", "env", "gpus", "tensor_parallel", "data_parallel", "startup_s"),
        *("device", "batch_tokens", "seconds_per_call"),
    }
)
"""Settings of a model that say where, how fast and for how much it works, not what it writes. A run may change them."""

ADDED: Final = frozenset({"extra_body", "thinking"})
"""Settings that came later. At their default they do not count for a stored call, so that the calls of older runs still do."""


_BATCHED: Final = 50_000
"""Calls of one batch: as many as may be, since every batch takes its time."""


def all_thinking_of(model: ModelConfig) -> Thinking:
    """Return what is said about the model's thinking in all roles: nothing for models that have no such setting."""
    return model.thinking if isinstance(model, LocalModel | EndpointModel | VllmModel) else Thinking()


def thinking_of(model: ModelConfig, role: Role) -> RoleThinking:
    """Return what is said about the model's thinking in one role."""
    return all_thinking_of(model).of(role)


def capacity_of(model: ModelConfig) -> int:
    """Return how many completions the model can be asked for at once, over all its servers; 0 where it sets no limit."""
    if isinstance(model, VllmModel):
        return model.max_in_flight
    if not isinstance(model, EndpointModel):
        return 0
    return _BATCHED if model.batch else model.max_in_flight * len(model.urls)


def prices_of(model: ModelConfig) -> Prices | None:
    """Return what the model's tokens cost, None where that is not known."""
    return model.prices if isinstance(model, EndpointModel) else None


class FilesCorpus(Config):
    """Text, Markdown, JSONL or Parquet files, also compressed, on this machine or behind URLs."""

    type: Literal["files"] = "files"
    paths: list[Place] = Field(min_length=1, description="files, folders (searched recursively), globs, URLs")
    text_field: Name = Field("text", description="field or column with the text (JSONL, Parquet)")
    title_field: Name | None = Field(None, description="field or column with a title")
    id_field: Name | None = Field(None, description="field or column with a unique id; default: file and line")


class HuggingFaceCorpus(Config):
    """A Hugging Face dataset, by hub name or local path, streamed."""

    type: Literal["hugging_face"] = "hugging_face"
    path: Place = Field(description="hub name (openai/gsm8k) or a local dataset directory")
    name: Name | None = Field(None, description="dataset config")
    split: Name = Field("train", description="split of the dataset")
    revision: Name | None = Field(None, description="branch, tag or commit on the hub; null takes the default branch")
    text_field: Name = Field("text", description="column with the text")
    title_field: Name | None = Field(None, description="column with a title")
    id_field: Name | None = Field(None, description="column with a unique id; default: row number")


class PocketCorpus(Config):
    """The embedded encyclopedia of fictional plants."""

    type: Literal["pocket"] = "pocket"
    editions: int = Field(3, ge=1, le=10_000, description="differently worded true articles per plant")


CorpusConfig = Annotated[FilesCorpus | HuggingFaceCorpus | PocketCorpus, Field(discriminator="type")]


class DocumentFilter(Config):
    """Which documents are used, and how much of them (method, "Tasks and corpora")."""

    min_words: int = Field(50, ge=0, le=1_000_000, description="shorter documents are dropped")
    max_words: int = Field(1024, ge=1, le=10_000_000, description="longer documents are cut to their first words")
    near_duplicates: float | None = Field(
        0.8, gt=0, le=1, description="of two documents at least this similar only one is used; null keeps both"
    )
    benchmarks: list[Place] = Field(
        [], description="benchmark files, folders, globs or URLs; a document that shares 13 words in a row is dropped"
    )


class ExamMeasure(Config):
    """Closed-book questions with known answers. Only the pocket world has them."""

    type: Literal["exam"] = "exam"
    questions_per_plant: int = Field(4, ge=1, le=1000, description="questions about each plant")
    samples: int = Field(2, ge=1, le=1000, description="sampled answers per question, besides the greedy one")


class SelfJudgedMeasure(Config):
    """Held-out documents: the starting model writes problems and rubrics and judges both models' answers."""

    type: Literal["self_judged"] = "self_judged"
    documents: int = Field(64, ge=1, le=1_000_000, description="documents held out, one problem each")
    samples: int = Field(4, ge=2, le=1000, description="answers per problem and model")


class NoMeasure(Config):
    """Nothing is measured."""

    type: Literal["none"] = "none"


MeasureConfig = Annotated[ExamMeasure | SelfJudgedMeasure | NoMeasure, Field(discriminator="type")]
