"""What a format is: a function from one pair, or one problem, to one row of plain data, and the columns of its Parquet."""

import json
from collections.abc import Callable
from typing import Final, NamedTuple

import pyarrow as pa

from pop_selfplay.journal.pairs import SUFFIXES, storable
from pop_selfplay.records import Message, PreferencePair, Problem, Rubric

BOTH: Final = tuple(SUFFIXES)
JSON_LINES: Final = (".jsonl",)


class ExportedProblem(NamedTuple):
    """A problem with its rubric (None where answers are verified) and the conversation that asks it, the `place`-th of all."""

    place: int
    problem: Problem
    rubric: Rubric | None
    prompt: tuple[Message, ...]
    domain: str
    round: int


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
