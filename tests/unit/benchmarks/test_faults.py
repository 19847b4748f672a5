"""The fault drill: its table in the docs is that of its results, and none of them is bad."""

import json
from pathlib import Path

from benchmarks.faults import FAULTS, table

ROOT = Path(__file__).parents[3]
ROWS = json.loads((ROOT / "benchmarks" / "results" / "faults.json").read_text(encoding="utf-8"))["rows"]


def test_every_fault_was_drilled_and_ended_as_expected() -> None:
    assert [row["fault"] for row in ROWS] == [fault.name for fault in FAULTS]
    assert [row["fault"] for row in ROWS if not row["right"]] == []


def test_the_table_of_the_docs_is_that_of_the_results() -> None:
    assert table(ROWS) in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
