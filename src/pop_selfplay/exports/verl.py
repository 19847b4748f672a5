"""verl: the columns of verl's RLHFDataset. The rubric is the ground truth that its reward manager hands to `compute_score`.

verl wants Parquet or JSON lines with data_source, prompt, ability, reward_model and extra_info (verl.readthedocs.io, "Prepare
Data for Post-Training").
"""

from typing import Final

import pyarrow as pa

from pop_selfplay.exports.formats import ExportedProblem, ProblemFormat, plain, rubric_json
from pop_selfplay.journal.pairs import MESSAGES, storable

_EXTRA: Final = ("problem_id", "problem", "reference_answer")
SCHEMA: Final = pa.schema(
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


def row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. The style says that a function scores the answers, and not one of verl's reward models."""
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
        },
    }


FORMAT: Final = ProblemFormat(row, SCHEMA)
