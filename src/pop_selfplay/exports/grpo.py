"""grpo: a prompt for trl.GRPOTrainer, and the columns by which `pop_selfplay.reward` scores the answers to it."""

from typing import Final

import pyarrow as pa

from pop_selfplay.exports.formats import ExportedProblem, ProblemFormat, plain, rubric_json
from pop_selfplay.journal.pairs import MESSAGES, storable

SCHEMA: Final = pa.schema(
    [
        ("prompt", MESSAGES),
        ("problem", pa.string()),
        ("rubric", pa.string()),
        ("reference_answer", pa.string()),
        ("problem_id", pa.string()),
        ("document_id", pa.string()),
        ("domain", pa.string()),
        ("round", pa.int64()),
    ]
)


def row(asked: ExportedProblem) -> dict[str, object]:
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
    }


FORMAT: Final = ProblemFormat(row, SCHEMA)
