"""The whole configuration of a run, as one tree. Defaults are the paper's values; unions are told apart by `type`.

A field here is a promise to users: one name, one meaning, a one-line description. Nothing in this module imports torch. The
settings of synthesis are in `config_synthesis.py`; everybody imports them from here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from pop_selfplay.config_synthesis import Config as Config
from pop_selfplay.config_synthesis import EarlyStop as EarlyStop
from pop_selfplay.config_synthesis import JudgeSampling as JudgeSampling
from pop_selfplay.config_synthesis import Reuse as Reuse
from pop_selfplay.config_synthesis import RubricWriterSampling as RubricWriterSampling
from pop_selfplay.config_synthesis import Sampling as Sampling
from pop_selfplay.config_synthesis import Synthesis as Synthesis
from pop_selfplay.errors import ConfigError
from pop_selfplay.records import Role

# --- corpus -----------------------------------------------------------------------------------------------------------


class FilesCorpus(Config):
    """Text, Markdown, JSONL or Parquet files, also compressed, on this machine or behind URLs."""

    type: Literal["files"] = "files"
    paths: list[str] = Field(min_length=1, description="files, folders (searched recursively), globs, URLs")
    text_field: str = Field("text", description="field or column with the text (JSONL, Parquet)")
    title_field: str | None = Field(None, description="field or column with a title")
    id_field: str | None = Field(None, description="field or column with a unique id; default: file and line")


class HuggingFaceCorpus(Config):
    """A Hugging Face dataset, by hub name or local path, streamed."""

    type: Literal["hugging_face"] = "hugging_face"
    path: str = Field(description="hub name (openai/gsm8k) or a local dataset directory")
    name: str | None = Field(None, description="dataset config")
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    title_field: str | None = None
    id_field: str | None = Field(None, description="column with a unique id; default: row number")


class PocketCorpus(Config):
    """The embedded encyclopedia of fictional plants."""

    type: Literal["pocket"] = "pocket"
    editions: int = Field(3, ge=1, description="differently worded true articles per plant")


CorpusConfig = Annotated[FilesCorpus | HuggingFaceCorpus | PocketCorpus, Field(discriminator="type")]


class DocumentFilter(Config):
    """Which documents are used, and how much of them (method, "Tasks and corpora")."""

    min_words: int = Field(50, ge=0, description="shorter documents are dropped")
    max_words: int = Field(1024, ge=1, description="longer documents are cut to their first words")
    near_duplicates: float | None = Field(
        0.8, gt=0, le=1, description="similarity from which on only one of two documents is used; null keeps both"
    )
    benchmarks: list[str] = Field(
        [], description="benchmark files, folders, globs or URLs; a document that shares 13 words in a row is dropped"
    )


# --- models -----------------------------------------------------------------------------------------------------------


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


# --- pairing ----------------------------------------------------------------------------------------------------------


class Pairing(Config):
    """Best against worst, and what is dropped (method, "Episodes to preference pairs")."""

    min_std: float = Field(0.001, ge=0, description="problems whose scores vary less are dropped")
    max_word_difference: int | None = Field(100, ge=0, description="guard against length bias; null switches it off")
    near_duplicate_problems: float | None = Field(
        0.8, gt=0, le=1, description="similarity from which on only one of two problems gives a pair; null keeps both"
    )
    reference_below_median: Literal["keep", "drop"] = Field(
        "keep", description="problems whose reference answer scores below the median candidate"
    )


# --- training and measurement -----------------------------------------------------------------------------------------


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


class RunConfig(Config):
    """One run. `pop init` writes a commented example; `configs/` holds the paper's runs."""

    domain: str = Field(description="a built-in domain or a path to a domain folder")
    corpus: CorpusConfig
    model: ModelConfig = Field(description="the policy: plays every role that has no teacher, and is trained")
    teachers: dict[Role, ModelConfig] = Field(default_factory=dict, description="a stronger model for single roles")
    seed: int = 42
    rounds: int = Field(1, ge=1)
    filter: DocumentFilter = DocumentFilter()
    synthesis: Synthesis = Synthesis()
    pairing: Pairing = Pairing()
    training: TrainingConfig = DPOTraining()
    measure: MeasureConfig = SelfJudgedMeasure()

    @property
    def applied_measure(self) -> MeasureConfig:
        """What is measured: nothing where nothing is trained."""
        return NoMeasure() if isinstance(self.training, NoTraining) else self.measure

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "RunConfig":
        if self.pairing.reference_below_median == "drop" and not self.synthesis.score_reference:
            raise ValueError("pairing.reference_below_median drop needs synthesis.score_reference true")
        if isinstance(self.measure, ExamMeasure) and not isinstance(self.corpus, PocketCorpus):
            raise ValueError("measure.type exam needs corpus.type pocket: only there the truth is known; use self_judged")
        if isinstance(self.training, NoTraining) and self.rounds > 1:
            raise ValueError("rounds above 1 need training: each round plays with the model that the one before trained")
        if isinstance(self.training, DPOTraining):
            if isinstance(self.model, SimulatedModel):
                raise ValueError("model.type simulated has no weights to train: set training.type to none")
            if isinstance(self.model, EndpointModel) and self.model.weights is None:
                raise ValueError("training a served model needs its weights: set model.weights, or training.type none")
        return self


# --- files ------------------------------------------------------------------------------------------------------------


def parse_config(data: Any, source: str = "config") -> RunConfig:
    """Validate plain data into a RunConfig. Raises ConfigError that names each wrong field, its value and what is allowed."""
    if not isinstance(data, dict):
        raise ConfigError(f"{source} must hold a mapping of settings, not {type(data).__name__}")
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or 'config'}: {e['msg']} (got {e.get('input')!r:.120})"
            for e in error.errors(include_url=False)
        ]
        raise ConfigError(f"{source} is not a valid run config:\n" + "\n".join(lines)) from error


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply `a.b=value` overrides (values are YAML). Relative paths are relative to where you stand.

    Raises ConfigError when the file cannot be read or is not a valid config.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    for override in overrides:
        data = _override(data, override)
    return parse_config(data, str(path))


def dump_config(config: RunConfig) -> str:
    """Return `config` as YAML with every default written out; `load_config` reads it back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(data: Any, override: str) -> Any:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r} must look like synthesis.candidates=8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    return _replaced(data, keys, value)


def _replaced(node: Any, keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    branch = dict(node) if isinstance(node, dict) else {}
    if keys == ["type"] and branch.get("type") != value:
        branch = {}  # the settings of one type mean nothing to another
    branch[keys[0]] = _replaced(branch.get(keys[0]), keys[1:], value)
    return branch
