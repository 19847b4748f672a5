r"""Mathematics with one final answer: GSM8K and AIME by inspect_evals' prompts and matchers, MATH-500 by our own check.

| benchmark | rows |
| --- | --- |
| gsm8k | `question`, `answer` (steps, then `#### ` and the number) |
| math_500 (HuggingFaceH4/MATH-500) | `problem`, `answer`, and, as far as they are there, `unique_id`, `subject`, `level` |
| aime2024 (Maxwell-Jia/AIME_2024) | `ID`, `Problem`, `Answer`, `Solution` |
| aime2025 (math-ai/aime25) | `id`, `problem`, `answer` |

GSM8K has the option `fewshot`: as many worked examples of the training split, `gsm8k_train.*` where the data is local. MATH-500
asks for `\boxed{}` and is checked by `method/answers.py`. With AIME's 30 items a single answer to each says little: several
samples of each are one cluster of the interval. The next one is a function here and a row in `_TASKS`.
"""

from collections.abc import Callable
from typing import Final

from inspect_ai import Task
from inspect_ai.dataset import Dataset, Sample, hf_dataset
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, match, scorer, stderr
from inspect_ai.solver import Solver, TaskState, generate, prompt_template, system_message
from inspect_evals.aime2024 import aime2024
from inspect_evals.aime2024.aime2024 import record_to_sample as item_of_2024
from inspect_evals.aime2025 import aime2025
from inspect_evals.aime2025.aime2025 import record_to_sample as item_of_2025
from inspect_evals.gsm8k import gsm8k as published
from inspect_evals.gsm8k.gsm8k import MATH_PROMPT_TEMPLATE, record_to_sample, sample_to_fewshot
from inspect_evals.utils.aime_common import aime_scorer, aime_solver

from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation.benchmarks.base import Row, Setup, read_items
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong
from pop_selfplay.method.answers import equal_answers, final_answer
from pop_selfplay.seeds import derive_seed

read, summary = right_or_wrong, no_summary

PROMPT = "{prompt}\n\nWork it out step by step, then give the final answer, and only that, in \\boxed{{}} at the end."
_PATH = "HuggingFaceH4/MATH-500"


def make_task(setup: Setup) -> Task:
    """Return the task in the benchmark's name."""
    return _TASKS[setup.benchmark.name](setup)


def _gsm8k(setup: Setup) -> Task:
    if setup.rows is None:
        return published(fewshot=setup.options["fewshot"])
    items = dataset(setup, record_to_sample, lambda: published(fewshot=0).dataset)
    solver = [*_examples(setup), prompt_template(MATH_PROMPT_TEMPLATE), generate()]
    return Task(dataset=items, solver=solver, scorer=match(numeric=True), name=setup.benchmark.name)


def _examples(setup: Setup) -> list[Solver]:
    wanted = setup.options["fewshot"]
    if not wanted:
        return []
    rows = setup.examples
    if rows is None or len(rows) < wanted:
        raise ConfigError(f"gsm8k with fewshot {wanted} needs gsm8k_train.jsonl with as many rows beside gsm8k.jsonl")
    examples = read_items(rows[:wanted], record_to_sample, "gsm8k_train")
    return [system_message("\n\n".join(sample_to_fewshot(example) for example in examples))]


def _aime(setup: Setup) -> Task:
    task, item = (aime2024, item_of_2024) if setup.benchmark.name == "aime2024" else (aime2025, item_of_2025)
    if setup.rows is None:
        return task()
    items = dataset(setup, item, lambda: task().dataset)
    return Task(dataset=items, solver=aime_solver(), scorer=aime_scorer(), name=setup.benchmark.name)


def _math_500(setup: Setup) -> Task:
    items = dataset(setup, item, _hub)
    return Task(dataset=items, solver=[prompt_template(PROMPT), generate()], scorer=boxed_answer(), name=setup.benchmark.name)


def item(row: Row) -> Sample:
    """Return the item in a row."""
    problem = str(row["problem"])
    id_ = str(row.get("unique_id") or f"{derive_seed(problem):016x}")
    return Sample(id=id_, input=problem, target=str(row["answer"]))


def _hub() -> Dataset:
    return hf_dataset(_PATH, split="test", sample_fields=item)


@scorer(metrics=[accuracy(), stderr()])
def boxed_answer() -> Scorer:
    """Hold the last boxed answer of a completion against the right one."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = final_answer(state.output.completion)
        right = answer is not None and equal_answers(answer, target.text)
        return Score(value=CORRECT if right else INCORRECT, answer=answer)

    return score


_TASKS: Final[dict[str, Callable[[Setup], Task]]] = {
    "gsm8k": _gsm8k,
    "math_500": _math_500,
    "aime2024": _aime,
    "aime2025": _aime,
}
