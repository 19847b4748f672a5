"""verifiers: the dataset of a verifiers environment: prompt, answer, and `info` as JSON text with all that the reward needs."""

import json
from typing import Final

import pyarrow as pa

from pop_selfplay.exports.formats import ExportedProblem, ProblemFormat, plain, plain_rubric
from pop_selfplay.journal.pairs import MESSAGES, storable

SCHEMA: Final = pa.schema(
    [("prompt", MESSAGES), ("answer", pa.string()), ("info", pa.string()), ("task", pa.string())],
)


def row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. `info` holds problem_id, problem and rubric, the columns that the reward looks for."""
    info = {
        "problem_id": storable(asked.problem.id),
        "problem": storable(asked.problem.text),
        "rubric": None if asked.rubric is None else plain_rubric(asked.rubric),
    }
    return {
        "prompt": plain(asked.prompt),
        "answer": storable(asked.problem.reference_answer),
        "info": json.dumps(info, ensure_ascii=False),
        "task": storable(f"pop/{asked.domain}"),
    }


FORMAT: Final = ProblemFormat(row, SCHEMA)
