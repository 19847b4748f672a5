"""GSM8K: grade-school word problems with one number as the answer, by inspect_evals' prompt and matcher.

Rows: `question`, `answer` (steps, then `#### ` and the number). Option `fewshot`: so many worked examples from the training
split, from `gsm8k_train.*` where the data is local.
"""

from inspect_ai import Task
from inspect_ai.scorer import match
from inspect_ai.solver import Solver, generate, prompt_template, system_message
from inspect_evals.gsm8k import gsm8k as published
from inspect_evals.gsm8k.gsm8k import MATH_PROMPT_TEMPLATE, record_to_sample, sample_to_fewshot

from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation.benchmarks.base import Setup, read_items
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong

read, summary = right_or_wrong, no_summary


def make_task(setup: Setup) -> Task:
    """Return the task, with `fewshot` worked examples before each question."""
    if setup.rows is None:
        return published(fewshot=setup.options["fewshot"])
    items = dataset(setup, record_to_sample, lambda: published(fewshot=0).dataset)
    solver = [*_examples(setup), prompt_template(MATH_PROMPT_TEMPLATE), generate()]
    return Task(dataset=items, solver=solver, scorer=match(numeric=True), name=setup.benchmark.name)


def _examples(setup: Setup) -> list[Solver]:
    wanted = setup.options["fewshot"]
    if not wanted:
        return []
    rows = setup.file("gsm8k_train")
    if rows is None or len(rows) < wanted:
        raise ConfigError(f"gsm8k with fewshot {wanted} needs gsm8k_train.jsonl with as many rows beside gsm8k.jsonl")
    examples = read_items(rows[:wanted], record_to_sample, "gsm8k_train")
    return [system_message("\n\n".join(sample_to_fewshot(example) for example in examples))]
