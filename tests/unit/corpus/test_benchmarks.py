"""Benchmark files become an index, with every string in them; half a benchmark is an error."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pop_selfplay.corpus.rows import read_benchmarks
from pop_selfplay.errors import CorpusError
from pop_selfplay.text.overlap import contaminated


def sentence(name: str) -> str:
    return " ".join(f"{name}{number}" for number in range(13))


def test_every_string_of_every_format_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"before {sentence('text')} after")
    row = {"question": sentence("field"), "n": 3, "turns": [{"role": "user", "content": sentence("deep")}], "none": None}
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(f"{json.dumps(row)}\n\n{json.dumps([sentence('bare')])}".encode()))
    table = pa.table(
        {
            "question": [sentence("column")],
            "choices": [["no", sentence("option")]],
            "image": [{"bytes": b"\xff", "path": sentence("struct")}],
            "raw": [b"\xff"],
            "level": pa.array([sentence("dictionary")]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    index = read_benchmarks([str(tmp_path)])
    for name in ("text", "field", "deep", "bare", "column", "option", "struct", "dictionary"):
        assert contaminated(sentence(name), index), name
    assert not contaminated(sentence("other"), index)


def test_no_paths_find_nothing() -> None:
    assert not contaminated(sentence("any"), read_benchmarks([]))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", b'{"q": 1}\n{broken', r"a\.jsonl#2 is not JSON"),
        ("a.jsonl", b'{"q": "\xff"}', r"a\.jsonl#1 is not UTF-8"),
        ("a.txt", b"caf\xe9", r"a\.txt is not UTF-8"),
        ("a.parquet", b"no parquet", r"a\.parquet cannot be read"),
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz cannot be read"),
        ("a.csv", b"a,b", r"a\.csv is not text, JSON or Parquet"),
        ("a.txt", b"only a few words", "hold no text of 13 words"),
    ],
)
def test_a_benchmark_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=problem) as caught:
        read_benchmarks([str(tmp_path)])
    assert "filter.benchmarks" in str(caught.value)


def test_a_benchmark_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not exist: correct filter\.benchmarks"):
        read_benchmarks([str(tmp_path / "nothing.jsonl")])
