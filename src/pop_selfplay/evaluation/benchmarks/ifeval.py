"""IFEval (arXiv 2311.07911): prompts with instructions that a program can check, by our own checkers.

Rows (google/IFEval): `key`, `prompt`, `instruction_id_list`, `kwargs` (one object for each instruction). The first figure is
the share of prompts all of whose instructions are followed, strictly; `instruction` figures count instructions; loose ones
forgive an opening or closing line and asterisks.

Difference: inspect_evals checks with the package instruction_following_eval, which is not on PyPI and fetches nltk data when it
runs. `evaluation/benchmarks/instruction_checks.py` says what we check differently.
"""

import langdetect
from inspect_ai import Task
from inspect_ai.dataset import Dataset, Sample, hf_dataset
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate
from inspect_evals.ifeval.ifeval import DATASET_PATH, IFEVAL_DATASET_REVISION

from pop_selfplay.evaluation.benchmarks.base import Row, Setup, Value
from pop_selfplay.evaluation.benchmarks.instruction_checks import follow_all, follows, punkt
from pop_selfplay.evaluation.benchmarks.parts import dataset, no_summary, of_own, scored

read, summary = of_own, no_summary


def make_task(setup: Setup) -> Task:
    """Return the task."""
    return Task(
        dataset=dataset(setup, item, _hub), solver=generate(), scorer=instructions_followed(), name=setup.benchmark.name
    )


def item(row: Row) -> Sample:
    """Return the item in a row. Raises KeyError for an instruction that nobody can check, or that lacks an argument."""
    kinds = list(row["instruction_id_list"])
    arguments = [{name: value for name, value in (given or {}).items() if value is not None} for given in row["kwargs"]]
    for kind, given in zip(kinds, arguments, strict=True):
        follows(kind, "A probe.", given, lambda text: "en")
    return Sample(id=str(row["key"]), input=row["prompt"], metadata={"kinds": kinds, "arguments": arguments})


def _hub() -> Dataset:
    return hf_dataset(DATASET_PATH, split="train", sample_fields=item, revision=IFEVAL_DATASET_REVISION)


@scorer(metrics=[mean()])
def instructions_followed() -> Scorer:
    """Check every instruction of a prompt, strictly and loosely."""

    async def score(state: TaskState, target: Target) -> Score:
        kinds = state.metadata["kinds"]
        strict, loose = follow_all(kinds, state.metadata["arguments"], state.output.completion, language_of)
        count = len(kinds)
        figures = {
            "prompt_strict": Value(float(all(strict))),
            "instruction_strict": Value(sum(strict) / count, count),
            "prompt_loose": Value(float(all(loose))),
            "instruction_loose": Value(sum(loose) / count, count),
        }
        split = "own rules" if punkt() is None else "Punkt"
        return scored(figures, answer=state.output.completion, strict=dict(zip(kinds, strict, strict=True)), sentences=split)

    return score


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of `text`, the same one every time; None where it has none."""
    langdetect.DetectorFactory.seed = 0
    try:
        code: str = langdetect.detect(text)
    except langdetect.LangDetectException:
        return None
    return code
