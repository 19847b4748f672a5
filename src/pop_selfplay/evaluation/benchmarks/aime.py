"""AIME 2024 and 2025: 30 competition problems each, answers from 0 to 999, by inspect_evals' prompt and matcher.

Rows of aime2024 (Maxwell-Jia/AIME_2024): `ID`, `Problem`, `Answer`, `Solution`. Rows of aime2025 (math-ai/aime25): `id`,
`problem`, `answer`. With 30 items a single answer to each says little: several samples of each are one cluster of the interval.
"""

from inspect_ai import Task
from inspect_evals.aime2024 import aime2024
from inspect_evals.aime2024.aime2024 import record_to_sample as item_of_2024
from inspect_evals.aime2025 import aime2025
from inspect_evals.aime2025.aime2025 import record_to_sample as item_of_2025
from inspect_evals.utils.aime_common import aime_scorer, aime_solver

from pop_selfplay.evaluation.benchmarks.base import Setup
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong

read, summary = right_or_wrong, no_summary


def make_task(setup: Setup) -> Task:
    """Return the task of the year in the benchmark's name."""
    published, item = (aime2024, item_of_2024) if setup.benchmark.name == "aime2024" else (aime2025, item_of_2025)
    if setup.rows is None:
        return published()
    items = dataset(setup, item, lambda: published().dataset)
    return Task(dataset=items, solver=aime_solver(), scorer=aime_scorer(), name=setup.benchmark.name)
