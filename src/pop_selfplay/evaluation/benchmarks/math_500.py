r"""MATH-500: 500 competition problems with a final answer in `\boxed{}`, checked by `method/answers.py`.

Rows (HuggingFaceH4/MATH-500): `problem`, `answer`, and, as far as they are there, `unique_id`, `subject`, `level`.
"""

from inspect_ai import Task
from inspect_ai.dataset import Dataset, Sample, hf_dataset
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate, prompt_template

from pop_selfplay.evaluation.benchmarks.base import Row, Setup
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong
from pop_selfplay.method.answers import equal_answers, final_answer
from pop_selfplay.seeds import derive_seed

read, summary = right_or_wrong, no_summary

PROMPT = "{prompt}\n\nWork it out step by step, then give the final answer, and only that, in \\boxed{{}} at the end."
_PATH = "HuggingFaceH4/MATH-500"


def make_task(setup: Setup) -> Task:
    """Return the task."""
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
