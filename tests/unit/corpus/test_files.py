"""Files become documents with stable ids; what cannot be read is skipped with its reason, never lost."""

import bz2
import gzip
import json
import lzma
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pop_selfplay.config import FilesCorpus
from pop_selfplay.corpus import Skipped, read_documents
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document


def read(*paths: Path | str, **fields: Any) -> tuple[dict[str, str], Counter[str]]:
    """Return the texts by document id, and the counted reasons."""
    entries = list(read_documents(FilesCorpus(paths=[str(path) for path in paths], **fields)))
    documents = [entry for entry in entries if isinstance(entry, Document)]
    texts = {document.id: document.text for document in documents}
    assert len(texts) == len(documents), "ids repeat"
    return texts, Counter(entry.reason for entry in entries if isinstance(entry, Skipped))


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_each_format_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("\ufeffplain\n text", encoding="utf-8")
    (tmp_path / "sub" / "b.MD").write_text("# marked\n", encoding="utf-8")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress("zipped ü".encode()))
    (tmp_path / "d.jsonl").write_bytes(jsonl({"text": "one"}) + b"\n" + jsonl({"text": "three"}))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "packed"})))
    pq.write_table(pa.table({"text": ["zero", "one"], "other": [1, 2]}), tmp_path / "f.parquet")
    texts, reasons = read(tmp_path)
    assert texts == {
        "a.txt": "plain\n text",
        "sub/b.MD": "# marked\n",
        "c.txt.gz": "zipped ü",
        "d.jsonl#1": "one",
        "d.jsonl#3": "three",
        "e.jsonl.gz#1": "packed",
        "f.parquet#0": "zero",
        "f.parquet#1": "one",
    }
    assert not reasons


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_files_are_read_also_in_several_parts(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    (tmp_path / f"a.md.{suffix}").write_bytes(pack("packed ü".encode()))
    (tmp_path / f"b.jsonl.{suffix}").write_bytes(pack(jsonl({"text": "one"})) + pack(jsonl({"text": "two"})))
    assert read(tmp_path) == ({f"a.md.{suffix}": "packed ü", f"b.jsonl.{suffix}#1": "one", f"b.jsonl.{suffix}#2": "two"}, {})


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_compressed_file_that_breaks_off_is_counted_as_unreadable(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"cut.txt.{suffix}").write_bytes(PACKERS[suffix](os.urandom(1000))[:-20])
    (tmp_path / f"broken.jsonl.{suffix}").write_bytes(b"not compressed")
    assert read(tmp_path) == ({}, {"unreadable": 2})


def test_every_bad_line_is_skipped_with_its_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"{broken",
        b"[" * 100_000,
        b"[1, 2]",
        b'{"body": "x"}',
        b'{"text": null}',
        b'{"text": 5}',
        b'{"text": " \\n"}',
        b'{"text": "\xff"}',
        b'{"text": "half a pair \\ud800"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    texts, reasons = read(tmp_path / "a.jsonl")
    assert texts == {"a.jsonl#1": "good", "a.jsonl#10": "half a pair \N{REPLACEMENT CHARACTER}"}
    assert reasons == {
        "bad_json": 2,
        "not_an_object": 1,
        "no_text_field": 2,
        "text_not_a_string": 1,
        "empty": 1,
        "not_utf8": 1,
    }


def test_every_bad_file_in_a_folder_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.md").write_text(" \n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "broken.txt.gz").write_text("no gzip")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(jsonl(*({"text": f"{n}" * 50} for n in range(1000))))[:-20])
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / ".hidden.txt").write_text("hidden")
    texts, reasons = read(tmp_path)
    assert texts["good.txt"] == "good"
    assert reasons == {"not_utf8": 1, "empty": 1, "unknown_type": 1, "unreadable": 5}


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_counted_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "good.txt").write_text("good")
    assert read(tmp_path) == ({"good.txt": "good"}, {"unreadable": 1})


def test_bad_rows_of_a_parquet_file_are_skipped_one_by_one(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([b"fine", b"\xff", None, b" "]).view(pa.binary()), "id": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "bytes.parquet")
    assert read(tmp_path) == ({"bytes.parquet#0": "fine"}, {"not_utf8": 1, "no_text_field": 1, "empty": 1})
    pq.write_table(pa.table({"id": [1, 2, 3]}), tmp_path / "bytes.parquet")
    assert read(tmp_path) == ({}, {"no_text_field": 3})


def test_fields_choose_text_title_and_id(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        jsonl({"body": "b", "name": "N", "key": 7, "text": "no"}, {"body": "c", "name": None, "key": "k"}, {"body": "d"})
    )
    pq.write_table(pa.table({"body": ["p"], "key": [8]}), tmp_path / "b.parquet")
    config = FilesCorpus(paths=[str(tmp_path)], text_field="body", title_field="name", id_field="key")
    first, second, skipped, third = read_documents(config)
    assert isinstance(first, Document) and (first.id, first.title, first.text) == ("7", "N", "b")
    assert isinstance(second, Document) and (second.id, second.title, second.text) == ("k", "", "c")
    assert isinstance(skipped, Skipped) and skipped.reason == "no_id_field"
    assert isinstance(third, Document) and (third.id, third.title, third.text) == ("8", "", "p")


def test_ids_do_not_depend_on_where_the_corpus_lies_or_on_the_order_of_paths(tmp_path: Path) -> None:
    for place in ("x", "y"):
        for part in ("one", "two"):
            (tmp_path / place / part).mkdir(parents=True)
            (tmp_path / place / part / "data.txt").write_text(f"{place} {part}")
    assert set(read(tmp_path / "x")[0]) == set(read(tmp_path / "y")[0]) == {"one/data.txt", "two/data.txt"}
    files = [tmp_path / "x" / "one" / "data.txt", tmp_path / "x" / "two" / "data.txt"]
    there, back = read(*files)[0], read(*reversed(files))[0]
    assert there == back == {"one/data.txt": "x one", "two/data.txt": "x two"}
    assert len(read(tmp_path / "x", tmp_path / "y", tmp_path / "x")[0]) == 4


def test_globs_take_files_of_any_name_and_search_the_folders_they_match(tmp_path: Path) -> None:
    (tmp_path / "pkg-a").mkdir()
    (tmp_path / "pkg-b").mkdir()
    (tmp_path / "pkg-a" / "copyright").write_text("rights")
    (tmp_path / "pkg-b" / "notes.txt").write_text("notes")
    assert read(tmp_path / "*" / "copyright") == ({"pkg-a/copyright": "rights"}, {})
    assert read(tmp_path / "**" / "*.txt") == ({"pkg-b/notes.txt": "notes"}, {})
    assert read(tmp_path / "pkg-*") == ({"pkg-b/notes.txt": "notes"}, {"unknown_type": 1})


def test_a_folder_that_two_stars_lead_to_is_searched_and_no_file_read_twice(tmp_path: Path) -> None:
    for name in ("a/deep/texts/one.txt", "b/texts/two.txt", "b/texts/more/three.txt", "b/other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    inside = {"a/deep/texts/one.txt", "b/texts/two.txt", "b/texts/more/three.txt"}
    assert read(tmp_path / "**" / "texts")[0].keys() == inside
    for last in ("*", "**"):
        found, dropped = read(tmp_path / "**" / last)
        assert found.keys() == {*inside, "b/other.txt"} and not dropped


ROWS = [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize(
    "content",
    [
        jsonl(*ROWS),
        b"\xef\xbb\xbf" + jsonl(*ROWS),
        json.dumps(ROWS).encode(),
        json.dumps(ROWS, indent=2).encode(),
        b"\n [\n" + b",\n".join(json.dumps(row).encode() for row in ROWS) + b"\n]\n",
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
def test_json_is_read_by_what_it_holds_and_not_by_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for path in (tmp_path, tmp_path / name, tmp_path / "*"):
        assert list(read(path)[0].values()) == ["one", "two"]
        assert min(read(path)[0]) == f"{name}#1"


def test_an_object_over_several_lines_is_one_document_and_broken_json_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": "one"}, indent=2))
    assert read(tmp_path) == ({"a.json#1": "one"}, {})
    (tmp_path / "a.json").write_text('[\n{"text": "one"},\n{"text": "two"\n')
    assert read(tmp_path) == ({}, {"bad_json": 1})
    (tmp_path / "a.json").write_text('{broken\n{"text": "two"}\n')
    assert read(tmp_path) == ({"a.json#2": "two"}, {"bad_json": 1})


@pytest.mark.parametrize("name", ["docs.tar.gz", "docs.tgz", "docs.tar", "docs.zip", "docs.csv", "docs.csv.gz", "docs.pdf"])
def test_an_archive_or_table_that_is_named_is_refused_with_its_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CorpusError, match=rf"is a \.{name[5:]} file.*unpack it or convert it.*corpus\.paths"):
        read(tmp_path / name)
    assert read(tmp_path) == read(tmp_path / "*") == ({}, {"unknown_type": 1})


def test_a_binary_file_under_the_name_of_a_text_is_no_document(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.txt", "w") as archive:
        archive.add(__file__, "inner.py")
    with zipfile.ZipFile(tmp_path / "b.md", "w") as packed:
        packed.writestr("inner", "text")
    (tmp_path / "c.txt").write_bytes(gzip.compress(b"text"))
    assert read(tmp_path) == ({}, {"not_text": 3})
    assert read(tmp_path / "a.txt") == ({}, {"not_text": 1})


def test_a_linked_folder_is_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    outside, corpus = tmp_path / "outside", tmp_path / "corpus"
    (outside / "deep").mkdir(parents=True)
    (corpus / "own").mkdir(parents=True)
    (outside / "a.txt").write_text("a")
    (outside / "deep" / "b.txt").write_text("b")
    (corpus / "own" / "c.txt").write_text("c")
    (corpus / "link").symlink_to(outside)
    (corpus / "second").symlink_to(outside)
    (corpus / "inner").symlink_to(corpus / "own")
    (outside / "back").symlink_to(corpus)
    (outside / "deep" / "up").symlink_to(outside)
    assert read(corpus) == ({"link/a.txt": "a", "link/deep/b.txt": "b", "own/c.txt": "c"}, {})


def test_a_reader_says_what_the_decoder_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_text("no gzip")
    (entry,) = read_documents(FilesCorpus(paths=[str(tmp_path)]))
    assert isinstance(entry, Skipped) and "gzip" in entry.detail.lower()


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"content": "x", "id": 1}, "text is missing or null, among: content, id"),
        ({"text": None}, "text is missing or null, among: text"),
        ({"text": {"en": "x"}}, "text is a dict"),
        ({"text": ["x"]}, "text is a list"),
        ({}, ""),
    ],
)
def test_a_row_without_a_text_says_what_it_has(row: dict[str, object], detail: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (entry,) = read_documents(FilesCorpus(paths=[str(tmp_path)]))
    assert isinstance(entry, Skipped) and entry.detail == detail


def test_a_zstd_file_with_a_long_window_says_how_to_repack_it(tmp_path: Path) -> None:
    # A frame by hand: magic number, a descriptor without size or checksum, a window of 2**31 bytes, one empty last block.
    (tmp_path / "a.jsonl.zst").write_bytes(bytes.fromhex("28b52ffd 00 a8 010000"))
    (entry,) = read_documents(FilesCorpus(paths=[str(tmp_path)]))
    assert isinstance(entry, Skipped) and entry.reason == "unreadable" and "zstd -d --long=31" in entry.detail


def test_a_named_file_may_hold_glob_characters(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("here")
    assert read(tmp_path / "a[1].txt")[0] == {"a[1].txt": "here"}


@pytest.mark.parametrize(("name", "problem"), [("nothing", "does not exist"), ("*.nothing", "matches no file")])
def test_a_path_that_leads_nowhere_is_an_error_that_names_it(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(CorpusError, match=problem) as caught:
        read(tmp_path / name)
    assert name in str(caught.value) and "corpus.paths" in str(caught.value)
