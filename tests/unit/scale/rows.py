"""What a run holds, to be compared with another one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pop_selfplay as pop
from pop_selfplay.exports import FORMATS


def exports(run: Path, folder: Path) -> dict[str, bytes]:
    """Return every export of a run, and its pairs, made in `folder`. Dataset cards name their run, and are left out."""
    folder.mkdir()
    for name in FORMATS:
        pop.export(run, folder / f"{name}.jsonl", name)
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")} | {"pairs": (run / "pairs.parquet").read_bytes()}


def rows(run: Path, table: str) -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(run / "run.db")) as db:
        return set(db.execute(f"SELECT * FROM {table}"))
