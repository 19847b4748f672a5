"""The benchmarks of `pop eval`: one table of what there is, and one module for each task (or few tasks of one kind).

| module | benchmarks | from |
| --- | --- | --- |
| mathematics.py | gsm8k, aime2024, aime2025 · math_500 | inspect_evals · ours, answers checked by method/answers.py |
| choices.py | medqa, mmlu_pro, gpqa_diamond | inspect_evals |
| ifeval.py | ifeval | ours, checkers in evaluation/benchmarks/instruction_checks.py |
| healthbench.py, writingbench.py | healthbench · writingbench | inspect_evals' data and judge prompts, our scorers |
| arena_hard.py | arena_hard_v0.1, arena_hard_v2 | ours |
| eq_bench.py | eq_bench_creative | ours |

A module has three functions: `make_task(setup)` returns the inspect task, `read(sample)` says what one finished sample scored,
or in a word why it has no score, and `summary(items, seed)` computes what is no mean over items. A new benchmark gets such a
module and a row in `BENCHMARKS`. Only the modules import inspect_ai, and they are loaded when they run.
"""

import importlib
import math
from typing import Final

from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.benchmarks.base import Benchmark, Decoding, Tasks
from pop_selfplay.extras import missing_extra

_NAMED: Final = ("accuracy", "no_letter")
_SEVERAL: Final = Decoding(0.6, 0.95, epochs=4)


def _arena(name: str, title: str) -> Benchmark:
    return Benchmark(name, title, "arena_hard", figures=("win_rate",), judged=True, versus="needed", options={"category": ""})


_ROWS: Final = (
    Benchmark("gsm8k", "GSM8K", "mathematics", figures=("accuracy",), options={"fewshot": 0}, examples="gsm8k_train"),
    Benchmark("math_500", "MATH-500", "mathematics", figures=("accuracy",), decoding=_SEVERAL),
    Benchmark("aime2024", "AIME 2024", "mathematics", figures=("accuracy",), decoding=_SEVERAL._replace(epochs=32)),
    Benchmark("aime2025", "AIME 2025", "mathematics", figures=("accuracy",), decoding=_SEVERAL._replace(epochs=32)),
    Benchmark("mmlu_pro", "MMLU-Pro", "choices", figures=_NAMED, options={"fewshot": 0}, examples="mmlu_pro_validation"),
    Benchmark("medqa", "MedQA", "choices", figures=_NAMED),
    Benchmark("gpqa_diamond", "GPQA-Diamond", "choices", figures=_NAMED, decoding=_SEVERAL),
    Benchmark(
        "ifeval", "IFEval", "ifeval", figures=("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")
    ),
    Benchmark(
        *("healthbench", "HealthBench", "healthbench"),
        figures=("score",),
        lowest=-math.inf,
        judged=True,
        options={"subset": "full"},
    ),
    Benchmark(
        *("writingbench", "WritingBench", "writingbench"),
        figures=("score",),
        scale=10.0,
        lowest=1.0,
        judged=True,
        decoding=Decoding(0.7, 0.8, 16000),
        options={"language": ""},
        shipped=True,
    ),
    _arena("arena_hard_v0.1", "Arena-Hard v0.1"),
    _arena("arena_hard_v2", "Arena-Hard v2"),
    Benchmark(
        *("eq_bench_creative", "EQ-Bench creative writing v3", "eq_bench"),
        figures=("score",),
        scale=100.0,
        judged=True,
        versus="used",
        decoding=Decoding(0.7, 1.0, 4000),
        options={"iterations": 3},
    ),
)

BENCHMARKS: Final[dict[str, Benchmark]] = {row.name: row for row in _ROWS}


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of this name. Raises UsageError that lists them all."""
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark {name!r}: available are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_tasks(benchmark: Benchmark) -> Tasks:
    """Return the module behind a benchmark. Raises MissingExtra when what it needs is not installed."""
    try:
        module: Tasks = importlib.import_module(f"{__name__}.{benchmark.module}")
    except ModuleNotFoundError as error:
        missing = missing_extra(error, f"benchmark {benchmark.name}")
        if missing is None:
            raise
        raise missing from error
    return module
