"""Every export format: a function from one pair, or one problem, to one row of plain data, and the columns of its Parquet.

| format | rows | for |
| --- | --- | --- |
| trl | preference pairs | trl.DPOTrainer, as pairs.parquet has them |
| openai | preference pairs | OpenAI's preference fine-tuning, method `dpo` |
| grpo | problems with their rubrics | trl.GRPOTrainer, scored by `pop_selfplay.reward` |
| verl | problems with their rubrics | verl's RLHFDataset |
| verifiers | problems with their rubrics | an environment of verifiers |

A new format is a function, its columns and a line in `FORMATS`, at the end. docs/exports.md shows how each is used.
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple

import pyarrow as pa

from pop_selfplay.journal.pairs import MESSAGES, SCHEMA, SUFFIXES, row_of, storable
from pop_selfplay.records import Message, PreferencePair, Problem, Rubric

BOTH: Final = tuple(SUFFIXES)
JSON_LINES: Final = (".jsonl",)


class ExportedProblem(NamedTuple):
    """A problem with its rubric (None where answers are verified) and the conversation that asks it, the `place`-th of all.

    `license`, `url` and `source` are what its document says of where it comes from.
    """

    place: int
    problem: Problem
    rubric: Rubric | None
    prompt: tuple[Message, ...]
    domain: str
    round: int
    license: str = ""
    url: str = ""
    source: str = ""


class PairFormat(NamedTuple):
    """Rows of preference pairs. `suffixes` are those of the files that can hold it."""

    row: Callable[[PreferencePair], dict[str, object]]
    schema: pa.Schema
    suffixes: tuple[str, ...] = BOTH


class ProblemFormat(NamedTuple):
    """Rows of problems with their rubrics."""

    row: Callable[[ExportedProblem], dict[str, object]]
    schema: pa.Schema
    suffixes: tuple[str, ...] = BOTH


def plain(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Return a conversation as others store it."""
    return [{"role": message.role, "content": storable(message.content)} for message in messages]


def plain_rubric(rubric: Rubric) -> dict[str, object]:
    """Return a rubric as plain data, as `pop_selfplay.reward` reads it back."""
    criteria = [
        {name: storable(value) if isinstance(value, str) else value for name, value in criterion.model_dump().items()}
        for criterion in rubric.criteria
    ]
    return {"criteria": criteria}


def rubric_json(rubric: Rubric | None) -> str:
    """Return a rubric as JSON text, "" where there is none."""
    return "" if rubric is None else json.dumps(plain_rubric(rubric), ensure_ascii=False)


def provenance(asked: ExportedProblem) -> dict[str, str]:
    """Return what its document says of where it comes from."""
    return {"license": storable(asked.license), "url": storable(asked.url), "source": storable(asked.source)}


OPENAI: Final = pa.schema([("input", pa.null()), ("preferred_output", MESSAGES), ("non_preferred_output", MESSAGES)])


def openai_row(pair: PreferencePair) -> dict[str, object]:
    """Return one line, with nothing beside what OpenAI reads. Reasoning stays in the answers, as in pairs.parquet.

    Source: platform.openai.com/docs/guides/direct-preference-optimization.
    """
    return {
        "input": {"messages": plain(pair.prompt), "tools": [], "parallel_tool_calls": True},
        "preferred_output": plain(pair.chosen),
        "non_preferred_output": plain(pair.rejected),
    }


GRPO: Final = pa.schema(
    [
        ("prompt", MESSAGES),
        ("problem", pa.string()),
        ("rubric", pa.string()),
        ("reference_answer", pa.string()),
        ("problem_id", pa.string()),
        ("document_id", pa.string()),
        ("domain", pa.string()),
        ("round", pa.int64()),
        ("license", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
    ]
)


def grpo_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. `rubric` is JSON; the reference answer is for looking at, not for training."""
    return {
        "prompt": plain(asked.prompt),
        "problem": storable(asked.problem.text),
        "rubric": rubric_json(asked.rubric),
        "reference_answer": storable(asked.problem.reference_answer),
        "problem_id": storable(asked.problem.id),
        "document_id": storable(asked.problem.document_id),
        "domain": storable(asked.domain),
        "round": asked.round,
        **provenance(asked),
    }


_EXTRA: Final = ("problem_id", "problem", "reference_answer", "license", "url", "source")
VERL: Final = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", MESSAGES),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct([("split", pa.string()), ("index", pa.int64()), *((name, pa.string()) for name in _EXTRA)]),
        ),
    ]
)


def verl_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. Its rubric is the ground truth that verl's reward manager hands to `compute_score`.

    The style says that a function scores the answers, and not one of verl's reward models. Source: verl.readthedocs.io,
    "Prepare Data for Post-Training".
    """
    return {
        "data_source": storable(f"pop/{asked.domain}"),
        "prompt": plain(asked.prompt),
        "ability": storable(asked.domain),
        "reward_model": {"style": "rule", "ground_truth": rubric_json(asked.rubric)},
        "extra_info": {
            "split": "train",
            "index": asked.place,
            "problem_id": storable(asked.problem.id),
            "problem": storable(asked.problem.text),
            "reference_answer": storable(asked.problem.reference_answer),
            **provenance(asked),
        },
    }


VERIFIERS: Final = pa.schema(
    [("prompt", MESSAGES), ("answer", pa.string()), ("info", pa.string()), ("task", pa.string())],
)


def verifiers_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. `info` holds problem_id, problem and rubric, which the reward looks for, and the provenance."""
    info = {
        "problem_id": storable(asked.problem.id),
        "problem": storable(asked.problem.text),
        "rubric": None if asked.rubric is None else plain_rubric(asked.rubric),
        **provenance(asked),
    }
    return {
        "prompt": plain(asked.prompt),
        "answer": storable(asked.problem.reference_answer),
        "info": json.dumps(info, ensure_ascii=False),
        "task": storable(f"pop/{asked.domain}"),
    }


FORMATS: Final[dict[str, PairFormat | ProblemFormat]] = {
    "trl": PairFormat(row_of, SCHEMA),
    "grpo": ProblemFormat(grpo_row, GRPO),
    "verl": ProblemFormat(verl_row, VERL),
    "verifiers": ProblemFormat(verifiers_row, VERIFIERS),
    "openai": PairFormat(openai_row, OPENAI, JSON_LINES),
}
