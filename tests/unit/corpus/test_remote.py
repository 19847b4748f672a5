"""URLs are read like paths, by fsspec; what breaks on the way is an error and never a document less."""

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pop_selfplay.config import FilesCorpus
from pop_selfplay.corpus import Skipped, read_documents
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of a folder in memory, with a file of each kind."""
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["row"]}), table)
    files = {
        "a.txt": b"plain",
        "sub/b.jsonl.gz": gzip.compress(b'{"text": "line"}\n'),
        "sub/c.parquet": table.getvalue(),
        "sub/picture.png": b"\x89PNG",
        "sub/noted": b"named",
        ".hidden/d.txt": b"hidden",
        "sub/.e.txt": b"hidden",
    }
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for name, content in files.items():
        memory.pipe(f"/bucket/{name}", content)
    yield "memory://bucket"
    memory.store.clear()


def read(*paths: str) -> tuple[dict[str, str], Counter[str]]:
    """Return the texts by document id, and the counted reasons."""
    entries = list(read_documents(FilesCorpus(paths=list(paths))))
    texts = {entry.id: entry.text for entry in entries if isinstance(entry, Document)}
    return texts, Counter(entry.reason for entry in entries if isinstance(entry, Skipped))


def test_a_folder_is_searched_like_one_on_this_machine(bucket: str) -> None:
    assert read(bucket) == (
        {"a.txt": "plain", "sub/b.jsonl.gz#1": "line", "sub/c.parquet#0": "row"},
        {"unknown_type": 2},
    )


def test_files_and_globs_take_files_of_any_name(bucket: str) -> None:
    assert read(f"{bucket}/sub/noted") == ({"noted": "named"}, {})
    assert read(f"{bucket}/*/noted") == ({"sub/noted": "named"}, {})
    assert read(f"{bucket}/**/*.gz") == ({"sub/b.jsonl.gz#1": "line"}, {})
    assert read(f"{bucket}/s*")[0].keys() == {"sub/b.jsonl.gz#1", "sub/c.parquet#0"}


def test_several_urls_are_told_apart_and_paths_may_stand_among_them(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "noted").write_text("local")
    assert read(f"{bucket}/sub/noted", str(tmp_path / "noted"))[0] == {
        "sub/noted": "named",
        f"{tmp_path.name}/noted": "local",
    }


def test_the_source_is_the_url(bucket: str) -> None:
    document = next(iter(read_documents(FilesCorpus(paths=[f"{bucket}/a.txt"]))))
    assert isinstance(document, Document) and document.source == "memory:///bucket/a.txt"


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    assert read(f"file://{tmp_path}") == read(str(tmp_path)) == ({"a.txt": "here"}, {})


def test_a_file_that_is_not_what_its_name_says_is_skipped(bucket: str) -> None:
    fsspec.filesystem("memory").pipe("/bucket/sub/b.jsonl.gz", b"no gzip")
    assert read(bucket)[1] == {"unknown_type": 2, "unreadable": 1}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("memory://bucket/nothing", "matches no file"),
        ("memory://bucket/*.nothing", "matches no file"),
        ("nosuch://bucket/a.txt", "Protocol not known: nosuch"),
    ],
)
def test_a_url_that_leads_nowhere_is_an_error_that_names_it(bucket: str, url: str, problem: str) -> None:
    with pytest.raises(CorpusError, match=problem) as caught:
        read(url)
    assert url in str(caught.value) and "corpus.paths" in str(caught.value)


class _NoAnswer(Exception):
    """An error of a driver's own, that is no OSError."""


@pytest.mark.parametrize("name", ["a.txt", "sub/b.jsonl.gz", "sub/c.parquet"])
@pytest.mark.parametrize("error", [OSError, TimeoutError, _NoAnswer])
def test_a_connection_that_breaks_is_an_error_and_no_skipped_text(
    bucket: str, name: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error("connection reset")

    def open_(self: Any, path: str, *args: Any, **kwargs: Any) -> Broken:
        return Broken(b"x" * 100)

    monkeypatch.setattr(MemoryFileSystem, "_open", open_)
    with pytest.raises(CorpusError, match=rf"memory:///bucket/{name} broke off .*connection reset"):
        read(f"{bucket}/{name}")
