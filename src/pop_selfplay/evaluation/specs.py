"""What is measured, on which models, and who judges: from what stands on the command line to what can be run.

| a model is written | means |
| --- | --- |
| `path/to/model` | a directory of transformers weights, loaded in this process |
| `org/name` | the same from the hub |
| `http://host:8000/v1#model` | an OpenAI-compatible endpoint, without a key |
| `model.yaml` | the `model` part of a run config, with every setting: keys, devices, time-outs |
| `runs/mine` | a run directory: the best of its models, the start too, by its own measure; without one the last trained |
| `runs/mine#0` | the model that the run started from; `#2` the one after round 2 |
| `pocket`, `simulated` | the shipped pocket model, the shipped fake |

A new way to name a model gets a row here and a branch in `named_model`.

A suite is a row of SUITES, the name of one benchmark, or a YAML file of one's own:

    benchmarks:
      - math_500
      - {name: gsm8k, limit: 200, temperature: 0.5, epochs: 4, options: {fewshot: 8}}

A new setting of a benchmark is a field of SuiteEntry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, JsonValue, TypeAdapter, ValidationError, field_validator, model_validator

from pop_selfplay.config import (
    Config,
    EndpointModel,
    LocalModel,
    ModelConfig,
    PocketModel,
    SimulatedModel,
    VllmModel,
    complaints,
    read_yaml,
)
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks import BENCHMARKS, find_benchmark
from pop_selfplay.evaluation.benchmarks.base import Benchmark, Decoding
from pop_selfplay.evaluation.rounds import best_model
from pop_selfplay.journal import RunDirectory
from pop_selfplay.models import open_model
from pop_selfplay.models.base import ChatModel, Notice
from pop_selfplay.models.identity import settings_name, weights_stamp
from pop_selfplay.runs.session import watch_session

_SHIPPED: Final[dict[str, ModelConfig]] = {"pocket": PocketModel(), "simulated": SimulatedModel()}
_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class ModelSpec:
    """A model to measure or to judge by. `label` is for people; calls in a journal belong to `identity`, the model's own name.

    `open` is called once for each evaluation, in its event loop, with who is told when its server is down or back; whoever
    opens it closes it. `in_flight` is how many calls it takes at once.
    """

    label: str
    identity: str
    open: Callable[[Notice], ChatModel]
    in_flight: int = 256


def find_model(text: str) -> ModelSpec:
    """Return the model that `text` names, by the table at the top. Raises UsageError that says what it may be."""
    return spec_of(*named_model(text))


def named_model(text: str) -> tuple[str, ModelConfig]:
    """Return a label for people and the config of the model that `text` names. Raises UsageError that says what it may be."""
    place, marked, number = text.rpartition("#")
    if marked and (Path(place) / "config.yaml").is_file() and not text.startswith("http"):
        return _of_run(Path(place), number)
    if (Path(text) / "config.yaml").is_file():
        return _of_run(Path(text), "")
    return text, _config(text)


def spec_of(label: str, config: ModelConfig) -> ModelSpec:
    """Return the model that `config` describes."""
    identity = settings_name(config) + weights_stamp(config)
    in_flight = config.max_in_flight if isinstance(config, (EndpointModel, VllmModel)) else 256
    return ModelSpec(label, identity, lambda notice: open_model(config, name=identity, notice=notice), in_flight)


def start_of_run(path: Path) -> ModelSpec:
    """Return the model that the run at `path` started from: what its trained model is compared with."""
    return spec_of(*_of_run(path, "0"))


def _config(text: str) -> ModelConfig:
    if text in _SHIPPED:
        return _SHIPPED[text]
    if text.startswith(("http://", "https://")):
        url, marked, name = text.partition("#")
        if not marked or not name:
            raise UsageError(f"the endpoint {text!r} names no model: write {url}#MODEL, where MODEL is its name on the server")
        return EndpointModel(base_url=url, model=name)
    if text.endswith(_YAML):
        return _read_yaml(Path(text))
    if not Path(text).expanduser().is_dir() and not _may_be_of_the_hub(text):
        raise UsageError(
            f"the model {text!r} is neither a directory, nor a run, nor a hub name (org/name): check the path. A run "
            "has a config.yaml; write RUN#N for the model of its round N"
        )
    return LocalModel(path=text)


def _may_be_of_the_hub(text: str) -> bool:
    """Tell whether `text` looks like name or org/name, and not like a path that was mistyped: the hub is asked for minutes."""
    outside = text.startswith((".", "/", "~")) or "#" in text or text.count("/") > 1
    return not outside and not ("/" in text and Path(text).parent.is_dir())


def _read_yaml(path: Path) -> ModelConfig:
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    try:
        return adapter.validate_python(read_yaml(path, "model config"))
    except ValidationError as error:
        lines = "\n  ".join(complaints(error, ModelConfig))
        raise ConfigError(f"{path} must be the model part of a run config:\n  {lines}") from error


def _of_run(path: Path, number: str) -> tuple[str, ModelConfig]:
    directory = RunDirectory.open(path)
    if number and not number.isdecimal():
        raise UsageError(f"{path}#{number}: write the number of a round after #, 0 for the starting model")
    with watch_session(path) as session:
        best = best_model(session)
        round_ = int(number) if number else best.round if best else -1
        trained = round_ > 0 and directory.model_path(round_).is_dir()
        if round_ != 0 and not trained:
            if not session.config.training.trains:
                raise UsageError(f"the run {path} trains no model (training.type is none): name its starting model, {path}#0")
            asked = f"no model of round {number}" if number else "no trained model yet"
            raise UsageError(f"the run {path} has {asked}: continue with `pop run {path}`, or name another round")
        return f"{path.name}#{round_}", session.casting.policy(round_ + 1)


SUITES: Final[dict[str, tuple[str, ...]]] = {
    "health": ("healthbench", "medqa"),
    "writing": ("writingbench", "eq_bench_creative"),
    "instructions": ("ifeval", "arena_hard_v2"),
    "reasoning": ("math_500", "aime2024", "aime2025", "gsm8k", "mmlu_pro", "gpqa_diamond"),
    "paper": (
        *("arena_hard_v0.1", "math_500", "aime2024", "aime2025"),
        *("gsm8k", "mmlu_pro", "medqa", "gpqa_diamond"),
    ),
}


class SuiteEntry(Config):
    """One benchmark of a suite. What is left out is the benchmark's own setting."""

    name: str = Field(description="a benchmark")
    limit: int | None = Field(None, ge=1, description="this many items, drawn by the seed; null takes all")
    epochs: int | None = Field(None, ge=1, description="answers to each item")
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the benchmark's own options")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in BENCHMARKS:
            raise ValueError(f"no benchmark {name!r}: available are {', '.join(BENCHMARKS)}")
        return name

    @property
    def benchmark(self) -> Benchmark:
        return BENCHMARKS[self.name]

    @property
    def decoding(self) -> Decoding:
        """The benchmark's decoding with what is set here."""
        own = {key: value for key in Decoding._fields if (value := getattr(self, key)) is not None}
        return self.benchmark.decoding._replace(**own)

    @property
    def all_options(self) -> dict[str, JsonValue]:
        """The benchmark's options with what is set here."""
        return {**self.benchmark.options, **self.options}

    @model_validator(mode="after")
    def _has_the_options(self) -> "SuiteEntry":
        known = self.benchmark.options
        for option, value in self.options.items():
            if option not in known:
                raise ValueError(f"{self.name} has no option {option!r}; its options are {sorted(known) or 'none'}")
            if type(value) is not type(known[option]):
                raise ValueError(f"option {option} of {self.name} must be of the type of {known[option]!r}, not {value!r}")
        return self


@dataclass(frozen=True)
class EvalSpec:
    """What is to be measured. `limit` and `seed` hold for all benchmarks; a benchmark's own limit goes before."""

    suite: str
    choices: Sequence[SuiteEntry]
    model: ModelSpec
    against: ModelSpec | None = None
    judge: ModelSpec | None = None
    data_dir: Path | None = None
    limit: int | None = None
    seed: int = 42

    def limit_of(self, choice: SuiteEntry) -> int | None:
        return self.limit if choice.limit is None else choice.limit


class SuiteFile(Config):
    """The content of a suite file."""

    benchmarks: list[SuiteEntry] = Field(min_length=1)

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        return [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


def load_suite(name_or_file: str) -> list[SuiteEntry]:
    """Return the benchmarks of a suite: its name, the name of a single benchmark, or a YAML file.

    Raises UsageError that lists the suites, ConfigError when a file is not a suite.
    """
    if name_or_file in SUITES:
        return [SuiteEntry(name=name) for name in SUITES[name_or_file]]
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        return _read(path)
    if name_or_file in BENCHMARKS:
        return [SuiteEntry(name=find_benchmark(name_or_file).name)]
    raise UsageError(
        f"no suite {name_or_file!r}: available are {', '.join(SUITES)}, each benchmark by its name "
        f"({', '.join(BENCHMARKS)}), or a YAML file"
    )


def with_examples(choices: Sequence[SuiteEntry], count: int) -> list[SuiteEntry]:
    """Return the choices with `count` worked examples in each benchmark that has the option `fewshot`.

    Raises UsageError where none has.
    """
    having = [choice for choice in choices if "fewshot" in choice.benchmark.options]
    if not having:
        have = ", ".join(name for name, benchmark in BENCHMARKS.items() if "fewshot" in benchmark.options)
        raise UsageError(f"--few-shot says nothing to these benchmarks: only {have} have worked examples")
    own = {
        choice.name: SuiteEntry.model_validate({**choice.model_dump(), "options": {**choice.options, "fewshot": count}})
        for choice in having
    }
    return [own.get(choice.name, choice) for choice in choices]


def _read(path: Path) -> list[SuiteEntry]:
    try:
        choices = SuiteFile.model_validate(read_yaml(path, "suite")).benchmarks
    except ValidationError as error:
        raise ConfigError(f"{path} is not a suite:\n  " + "\n  ".join(complaints(error, SuiteFile))) from error
    names = [choice.name for choice in choices]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} names {twice[0]} twice: list each benchmark once")
    return choices
