"""WritingBench (arXiv 2503.05244): 1,000 writing requests in 100 subjects, five criteria of its own for each, rated 1 to 10.

Rows: `index`, `domain1`, `domain2`, `query`, `checklist` (five criteria); without local data the ones that inspect_evals ships.
Option `language`: en, zh or "" for both, told by whether the query has Chinese characters. The judge is asked what
inspect_evals asks it, which is the published prompt, after a system message and with the sampling of the authors' evaluator
(X-PLUG/WritingBench).

Differences: the system message is in our words. inspect_evals counts a rating that cannot be read as 0, here such an item has
no score. The answer is what follows the last `</think>`; the authors look for the first one that an empty line follows.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Final

import inspect_evals.writingbench
from inspect_ai import Task
from inspect_ai.dataset import Dataset, MemoryDataset, Sample
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate
from inspect_evals.writingbench.writingbench import create_scoring_prompt

from pop_selfplay.evaluation.benchmarks.base import Decoding, Row, Setup, Value, read_file
from pop_selfplay.evaluation.benchmarks.parts import ask_judge, dataset, no_summary, of_own, scored
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.records import Message
from pop_selfplay.tasks import together

read, summary = of_own, no_summary

JUDGING: Final = Decoding(temperature=1.0, top_p=0.95, max_tokens=2048)
"""As published."""
_SYSTEM: Final = Message(role="system", content="You judge answers to requests for texts, with the practised eye of an expert.")

_RATING = re.compile(r'"score"\s*:\s*(10|[1-9])(?![\d.])')
_CHINESE = re.compile("[\u4e00-\u9fff]")
_PLACES = re.compile(r"\{(checklist\[\d\]|question|answer)\}")


def make_task(setup: Setup) -> Task:
    """Return the task."""
    items = dataset(setup, item, _shipped)
    if language := setup.options["language"]:
        items = items.filter(lambda sample: bool(_CHINESE.search(str(sample.input))) == (language == "zh"))
    return Task(dataset=items, solver=generate(), scorer=checklist(setup.judge), name=setup.benchmark.name)


def item(row: Row) -> Sample:
    """Return the item in a row. A checklist may be five texts, or objects with name and criteria_description."""
    criteria = row["checklist"] if not isinstance(row["checklist"], str) else json.loads(row["checklist"])
    metadata = {"checklist": [str(criterion) for criterion in criteria], "domain1": row["domain1"], "domain2": row["domain2"]}
    return Sample(id=str(row["index"]), input=row["query"], metadata=metadata)


def _shipped() -> Dataset:
    path = Path(inspect_evals.writingbench.__file__).with_name("benchmark_all.jsonl")
    return MemoryDataset([item(dict(row)) for row in read_file(path)], name="writingbench")


@scorer(metrics=[mean()])
def checklist(judge: Model) -> Scorer:
    """Have the judge rate the response on each criterion; the score is the mean, 1 to 10."""

    async def score(state: TaskState, target: Target) -> Score:
        criteria: list[str] = state.metadata["checklist"]
        ratings = await together(_rating(judge, state, criteria, n) for n in range(len(criteria)))
        failed = next((rating for rating in ratings if isinstance(rating, Rejection)), None)
        if failed is not None:
            return Score.unscored(reason=f"judge_{failed.reason}", explanation=failed.detail)
        numbers = [rating for rating in ratings if not isinstance(rating, Rejection)]
        return scored({"score": Value(sum(numbers) / len(numbers))}, answer=state.output.completion, ratings=numbers)

    return score


async def _rating(judge: Model, state: TaskState, criteria: Sequence[str], number: int) -> int | Rejection:
    values = {"question": state.input_text, "answer": state.output.completion}
    values |= {f"checklist[{n}]": criterion for n, criterion in enumerate(criteria)}
    template = dedent(create_scoring_prompt(number)).strip().replace("{{", "{").replace("}}", "}")
    asked = _PLACES.sub(lambda place: values[place[1]], template)  # in one pass: braces inside an answer fill nothing
    return await ask_judge(judge, [_SYSTEM, Message(role="user", content=asked)], _parse, JUDGING)


def _parse(completion: str) -> Parsed[int] | Rejection:
    found = set(_RATING.findall(completion))
    if len(found) != 1:
        return Rejection("bad_rating", f"not one rating from 1 to 10 in {completion!r:.200}")
    return Parsed(int(found.pop()))
