"""Multiple choice: MedQA, MMLU-Pro and GPQA-Diamond, by inspect_evals' prompts; the answer is a letter.

medqa         BigBIO's id, question, choices, answer (a list with the right text), or the authors' own rows:
              question, options (letter to text), answer_idx
mmlu_pro      TIGER-Lab/MMLU-Pro: question_id, question, options, answer (a letter), category, cot_content
gpqa_diamond  the published CSV: Question, Correct Answer, Incorrect Answer 1 to 3, Record ID, High-level domain, Subdomain
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple

from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import choice
from inspect_ai.solver import Solver, multiple_choice
from inspect_evals.gpqa.gpqa import DEFAULT_SHUFFLE_SEED, gpqa_diamond
from inspect_evals.gpqa.gpqa import record_to_sample as item_of_gpqa
from inspect_evals.medqa.medqa import TEMPLATE as MEDQA_TEMPLATE
from inspect_evals.medqa.medqa import medqa
from inspect_evals.medqa.medqa import record_to_sample as item_of_medqa
from inspect_evals.mmlu_pro.mmlu_pro import USER_PROMPT_TEMPLATE as MMLU_TEMPLATE
from inspect_evals.mmlu_pro.mmlu_pro import mmlu_pro
from inspect_evals.mmlu_pro.mmlu_pro import record_to_sample as item_of_mmlu

from pop_selfplay.evaluation.benchmarks.base import Row, Setup
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong
from pop_selfplay.seeds import derive_seed

read, summary = right_or_wrong, no_summary


class _Published(NamedTuple):
    """inspect_evals' task, how it reads a row, how it asks, and whether the right option must be moved from the first place."""

    task: Callable[[], Task]
    item: Callable[[Row], Sample]
    solver: Callable[[], Solver]
    shuffle: bool = False


def make_task(setup: Setup) -> Task:
    """Return the task in the benchmark's name."""
    published = _PUBLISHED[setup.benchmark.name]
    if setup.rows is None:
        return published.task()
    items = dataset(setup, published.item, lambda: published.task().dataset)
    if published.shuffle:
        items.shuffle_choices(seed=DEFAULT_SHUFFLE_SEED)
    return Task(dataset=items, solver=published.solver(), scorer=choice(), name=setup.benchmark.name)


def _medqa_item(row: Row) -> Sample:
    options = row.get("options")
    if options is None:
        return item_of_medqa(row)
    if isinstance(options, str):
        options = json.loads(options)
    texts = dict(sorted(options.items() if isinstance(options, dict) else ((o["key"], o["value"]) for o in options)))
    place = list(texts).index(row["answer_idx"])
    id_ = str(row.get("id") or f"{derive_seed(row['question']):016x}")
    return Sample(id=id_, input=row["question"], choices=list(texts.values()), target=chr(ord("A") + place))


_PUBLISHED: Final = {
    "medqa": _Published(medqa, _medqa_item, lambda: multiple_choice(template=MEDQA_TEMPLATE)),
    "mmlu_pro": _Published(
        lambda: mmlu_pro(shuffle=False), item_of_mmlu, lambda: multiple_choice(template=MMLU_TEMPLATE, shuffle=False)
    ),
    "gpqa_diamond": _Published(gpqa_diamond, item_of_gpqa, lambda: multiple_choice(cot=True), shuffle=True),
}
