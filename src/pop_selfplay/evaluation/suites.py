"""What one evaluation runs: the benchmarks of a named suite, or of a YAML file of one's own, and on which models.

    benchmarks:
      - math_500
      - {name: gsm8k, limit: 200, temperature: 0.5, epochs: 4, options: {fewshot: 8}}

A suite gets a row in SUITES; a setting of a benchmark a field in SuiteEntry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from pop_selfplay.config import Config, complaints, read_yaml
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks import BENCHMARKS, find_benchmark
from pop_selfplay.evaluation.benchmarks.base import Benchmark, Decoding
from pop_selfplay.evaluation.model_spec import ModelSpec

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
