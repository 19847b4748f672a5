"""Hugging Face datasets, from local folders: the real `datasets` library, no network."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pop_selfplay.config import HuggingFaceCorpus
from pop_selfplay.corpus import Skipped, read_documents
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document

datasets = pytest.importorskip("datasets")
ROWS = [{"text": "first text", "name": "A"}, {"text": "", "name": "B"}, {"text": "third text", "name": "C"}]


@pytest.fixture(params=["jsonl", "parquet", "save_to_disk", "save_to_disk with splits"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A local dataset with a train split, written in one of the ways that people have them."""
    datasets.disable_progress_bars()
    match request.param:
        case "jsonl":
            (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train.parquet")
        case "save_to_disk":
            datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path)
        case _:
            datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path)
    return tmp_path


def read(folder: Path, **fields: Any) -> list[Document | Skipped]:
    return list(read_documents(HuggingFaceCorpus(path=str(folder), **fields)))


def test_rows_become_documents_numbered_from_zero(folder: Path) -> None:
    first, empty, third = read(folder, title_field="name")
    assert isinstance(first, Document) and (first.id, first.title, first.text) == ("train/0", "A", "first text")
    assert isinstance(empty, Skipped) and empty.reason == "empty" and empty.source.endswith("train/1")
    assert isinstance(third, Document) and third.id == "train/2"


def test_an_id_field_names_the_documents(folder: Path) -> None:
    assert [entry.id for entry in read(folder, id_field="name") if isinstance(entry, Document)] == ["A", "C"]


def test_a_missing_column_is_an_error_that_lists_the_columns(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"no column 'body'; its columns are \['name', 'text'\]"):
        read(folder, text_field="body")


@pytest.mark.parametrize("folder", ["jsonl", "save_to_disk with splits"], indirect=True)
def test_a_missing_split_is_an_error_that_names_it(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"split 'test'.*train"):
        read(folder, split="test")


def test_a_dataset_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read dataset .*nowhere"):
        read(tmp_path / "nowhere" / "at" / "all")


def test_a_dataset_made_by_a_script_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / f"{tmp_path.name}.py").write_text("import datasets\n")
    with pytest.raises(CorpusError, match=r"(?s)cannot read dataset .*[Ss]cript.*refs/convert/parquet"):
        read(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        {"text": ["third text"]},
        {"text": "third text", "language": "en"},
        {"text": {"parts": [{"value": "third"}]}, "n": 1},
        {"body": "third text"},
    ],
    ids=["a list", "another column", "an object", "no text"],
)
def test_files_of_mixed_types_are_an_error_that_names_the_cause_and_the_way_to_read_them(
    other: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "first text"}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps(other) + "\n")
    with pytest.raises(CorpusError, match=r"(?s)after 1 rows: .*differ in columns or types.*corpus\.type files"):
        read(tmp_path)


def test_parquet_files_of_mixed_types_are_told_alike(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["first text"]}), tmp_path / "train-0.parquet")
    pq.write_table(pa.table({"text": pa.array([{"value": "x"}])}), tmp_path / "train-1.parquet")
    with pytest.raises(CorpusError, match=r"(?s)differ in columns or types.*corpus\.type files"):
        read(tmp_path)


def test_a_damaged_file_is_an_error_that_says_where_it_would_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "first text"}) + "\n{broken\n")
    with pytest.raises(CorpusError, match=r"(?s)JSON parse error.*damaged"):
        read(tmp_path)
