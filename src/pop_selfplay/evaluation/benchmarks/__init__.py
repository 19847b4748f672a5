"""The benchmarks of `pop eval`: one table of what there is, and one module for each task (or few tasks of one kind).

| module | benchmarks | from |
| --- | --- | --- |
| gsm8k.py | gsm8k | inspect_evals |
| math_500.py | math_500 | ours, answers checked by math-verify |

A module has three functions: `make_task(setup)` returns the inspect task, `read(sample)` says what one finished sample scored,
or in a word why it has no score, and `summary(items, seed)` computes what is no mean over items. A new benchmark gets such a
module and a row in `BENCHMARKS`. Only the modules import inspect_ai, and they are loaded when they run.
"""

import importlib
from typing import Final

from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.benchmarks.base import Benchmark, Decoding, Tasks

_ROWS: Final = (
    Benchmark("gsm8k", "GSM8K", "gsm8k", figures=("accuracy",), options={"fewshot": 0}),
    Benchmark("math_500", "MATH-500", "math_500", figures=("accuracy",), decoding=Decoding(0.6, 0.95, epochs=4)),
)

BENCHMARKS: Final[dict[str, Benchmark]] = {row.name: row for row in _ROWS}


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of this name. Raises UsageError that lists them all."""
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_tasks(benchmark: Benchmark) -> Tasks:
    """Return the module behind a benchmark. Raises UsageError when what it needs is not installed."""
    try:
        module: Tasks = importlib.import_module(f"{__name__}.{benchmark.module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pop_selfplay"):
            raise
        raise UsageError(
            f"benchmark {benchmark.name} needs {error.name}, which is not installed: pip install 'pop-selfplay[eval]'"
        ) from error
    return module
