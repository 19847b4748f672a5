"""Multiple choice: MedQA, MMLU-Pro and GPQA-Diamond, by inspect_evals' prompts; the answer is a letter.

medqa         BigBIO's id, question, choices, answer (a list with the right text), or the authors' own rows:
              question, options (letter to text), answer_idx
mmlu_pro      TIGER-Lab/MMLU-Pro: question_id, question, options, answer (a letter), category, cot_content
gpqa_diamond  the published CSV: Question, Correct Answer, Incorrect Answer 1 to 3, Record ID, High-level domain, Subdomain

Option `fewshot` of mmlu_pro: so many worked examples of the question's own subject, from the validation split, or
`mmlu_pro_validation.*` where the data is local. The letter is read by `letter_in`; an answer without one is wrong, and counted
as `no_letter`.
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple

from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessageSystem
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, multiple_choice, solver
from inspect_evals.gpqa.gpqa import DEFAULT_SHUFFLE_SEED, gpqa_diamond
from inspect_evals.gpqa.gpqa import record_to_sample as item_of_gpqa
from inspect_evals.medqa.medqa import TEMPLATE as MEDQA_TEMPLATE
from inspect_evals.medqa.medqa import medqa
from inspect_evals.medqa.medqa import record_to_sample as item_of_medqa
from inspect_evals.mmlu_pro.mmlu_pro import SYSTEM_W_EXAMPLES_PROMPT_TEMPLATE, mmlu_pro, mmlu_pro_solver, sample_to_fewshot
from inspect_evals.mmlu_pro.mmlu_pro import USER_PROMPT_TEMPLATE as MMLU_TEMPLATE
from inspect_evals.mmlu_pro.mmlu_pro import record_to_sample as item_of_mmlu

from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation.benchmarks.base import Row, SampleScore, Setup, Value, letter_in, read_items
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, right_or_wrong
from pop_selfplay.seeds import derive_seed

summary = no_summary


class _Published(NamedTuple):
    """inspect_evals' task, how it reads a row, how it asks, and whether the right option must be moved from the first place."""

    task: Callable[[], Task]
    item: Callable[[Row], Sample]
    solver: Callable[[], Solver]
    shuffle: bool = False


@scorer(metrics=[accuracy(), stderr()])
def named_letter() -> Scorer:
    """Hold the letter that a completion names against the right one."""

    async def score(state: TaskState, target: Target) -> Score:
        letter = letter_in(state.output.completion, len(state.choices))
        return Score(value=CORRECT if letter == target.text else INCORRECT, answer=letter or "")

    return score


def read(sample: EvalSample) -> SampleScore | str:
    """Return the accuracy of a sample, and whether its answer named no letter."""
    found = right_or_wrong(sample)
    if isinstance(found, str):
        return found
    (score,) = (sample.scores or {}).values()
    return SampleScore({**found.figures, "no_letter": Value(float(not score.answer))})


def make_task(setup: Setup) -> Task:
    """Return the task in the benchmark's name."""
    published = _PUBLISHED[setup.benchmark.name]
    items = dataset(setup, published.item, lambda: published.task().dataset)
    if published.shuffle and setup.rows is not None:
        items.shuffle_choices(seed=DEFAULT_SHUFFLE_SEED)
    solvers = [*_examples(setup), published.solver()]
    return Task(dataset=items, solver=solvers, scorer=named_letter(), name=setup.benchmark.name)


def _examples(setup: Setup) -> list[Solver]:
    """Return what puts worked examples of the question's subject before it, as published for MMLU-Pro."""
    wanted = setup.options.get("fewshot", 0)
    if not wanted:
        return []
    if setup.rows is None:
        return list(mmlu_pro_solver(fewshot=wanted)[:-1])
    rows = setup.examples
    if rows is None:
        raise ConfigError("mmlu_pro with fewshot needs mmlu_pro_validation.jsonl beside mmlu_pro.jsonl")
    by_subject: dict[str, list[Sample]] = {}
    for example in read_items(rows, item_of_mmlu, "mmlu_pro_validation"):
        by_subject.setdefault(example.metadata["subject"], []).append(example)
    short = sorted(
        {str(row["category"]).lower() for row in setup.rows if len(by_subject.get(str(row["category"]).lower(), [])) < wanted}
    )
    if short:
        raise ConfigError(f"mmlu_pro_validation has fewer than {wanted} examples for {', '.join(short)}")
    return [_worked_examples({subject: examples[:wanted] for subject, examples in by_subject.items()})]


@solver
def _worked_examples(by_subject: dict[str, list[Sample]]) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        subject = state.metadata["subject"]
        examples = "\n\n".join(sample_to_fewshot(example) for example in by_subject[subject])
        told = SYSTEM_W_EXAMPLES_PROMPT_TEMPLATE.format(subject=subject, examples=examples)
        state.messages.insert(0, ChatMessageSystem(content=told))
        return state

    return solve


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
