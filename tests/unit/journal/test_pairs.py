"""Preference pairs to and from Parquet and JSON lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pop_selfplay.errors import JournalError, UsageError
from pop_selfplay.journal import pairs as export
from pop_selfplay.journal.pairs import COLUMNS, read_pairs, row_of, write_pairs
from pop_selfplay.records import Message, PreferencePair
from pop_selfplay.text.fencing import storable

SUFFIXES = [".parquet", ".jsonl"]


def make_pair(number: int = 1, answer: str = "Take the leaf.", **changes: Any) -> PreferencePair:
    pair = PreferencePair(
        prompt=(Message(role="system", content="You advise."), Message(role="user", content=f"Question {number}?")),
        chosen=(Message(role="assistant", content=answer),),
        rejected=(Message(role="assistant", content="Perhaps."),),
        chosen_score=1.75,
        rejected_score=1 / 3,
        reference_answer="The leaf.",
        document_id=f"document-{number}",
        problem_id=f"document-{number}/0",
        round=1,
    )
    return pair.model_copy(update=changes)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back_equal_and_in_order(tmp_path: Path, suffix: str) -> None:
    pairs = [make_pair(number, answer='"Grün" \u2028 <|im_end|>\n\n😀') for number in (3, 1, 2)]
    path = tmp_path / f"pairs{suffix}"
    assert write_pairs(iter(pairs), path) == 3
    assert list(read_pairs(path)) == pairs


@settings(deadline=None)  # it writes files, whose speed is not ours
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), score=st.floats(0, 2))
def test_any_text_and_score_survives_both_formats(tmp_path_factory: pytest.TempPathFactory, text: str, score: float) -> None:
    pair = make_pair(answer=text, chosen_score=score, reference_answer=text)
    for suffix in SUFFIXES:
        path = tmp_path_factory.mktemp("any") / f"pairs{suffix}"
        write_pairs([pair], path)
        assert list(read_pairs(path)) == [pair]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_pairs_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    pairs = [make_pair(number) for number in range(20)]
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write_pairs(pairs, first)
    write_pairs((pair for pair in pairs), second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_pairs_give_a_valid_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    assert write_pairs([], path) == 0
    assert list(read_pairs(path)) == []


def test_columns_are_the_fields_of_a_pair_in_their_order(tmp_path: Path) -> None:
    columns = [
        *("prompt", "chosen", "rejected", "chosen_score", "rejected_score"),
        *("reference_answer", "document_id", "problem_id", "round", "role"),
        *("license", "url", "source"),
    ]
    write_pairs([], tmp_path / "pairs.parquet")
    write_pairs([make_pair()], tmp_path / "pairs.jsonl")
    assert list(COLUMNS) == columns
    assert pq.read_schema(tmp_path / "pairs.parquet").names == columns
    assert list(json.loads((tmp_path / "pairs.jsonl").read_text(encoding="utf-8"))) == columns


def test_parquet_is_written_in_row_groups_so_that_memory_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS_PER_GROUP", 4)
    path = tmp_path / "pairs.parquet"
    write_pairs((make_pair(number) for number in range(10)), path)
    assert [pq.ParquetFile(path).metadata.row_group(group).num_rows for group in range(3)] == [4, 4, 2]
    assert len(list(read_pairs(path))) == 10


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("a\ud83d", "a\ufffd"),
        ("\udc00a", "\ufffda"),
        ("\ud83d\ude00", "😀"),
        ("a\0b", "a\ufffdb"),
        ("ö\0\ud83d", "ö\ufffd\ufffd"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lone_surrogates_and_nul_are_replaced(tmp_path: Path, suffix: str, written: str, stored: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    broken = Message.model_construct(role="assistant", content=written)  # pydantic refuses such text, models do write it
    write_pairs([make_pair(chosen=(broken,), reference_answer=written)], path)
    (pair,) = read_pairs(path)
    assert (pair.chosen[0].content, pair.reference_answer) == (stored, stored)
    assert storable(storable(written)) == stored


def test_unknown_suffix_is_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'pairs\.csv'.*\.parquet, \.jsonl"):
        write_pairs([], tmp_path / "pairs.csv")
    with pytest.raises(UsageError, match=r"\.parquet, \.jsonl"):
        read_pairs(tmp_path / "pairs.csv")


def test_a_given_format_needs_no_suffix(tmp_path: Path) -> None:
    write_pairs([make_pair()], tmp_path / "pairs", format="jsonl")
    assert list(read_pairs(tmp_path / "pairs", format="jsonl")) == [make_pair()]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    write_pairs([make_pair(1)], path)

    def failing() -> Iterator[PreferencePair]:
        yield make_pair(2)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_pairs(failing(), path)
    assert list(read_pairs(path)) == [make_pair(1)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nowhere"):
        write_pairs([], tmp_path / "nowhere" / "pairs.jsonl")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(JournalError, match=f"pairs{suffix}"):
        list(read_pairs(tmp_path / f"pairs{suffix}"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_told_from_a_bug(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(b"\xff no pairs")
    with pytest.raises(JournalError, match="damaged"):
        list(read_pairs(path))


def test_a_row_without_a_column_is_named_with_what_is_needed(tmp_path: Path) -> None:
    lines, table = tmp_path / "pairs.jsonl", tmp_path / "pairs.parquet"
    row = row_of(make_pair())
    del row["chosen"]
    lines.write_text(json.dumps(row_of(make_pair())) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([row]), table)
    with pytest.raises(JournalError, match=r"row 2 .*chosen: Field required"):
        list(read_pairs(lines))
    with pytest.raises(JournalError, match=r"row 1 .*chosen: Field required"):
        list(read_pairs(table))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_from_before_there_were_roles_holds_the_solver_s_pairs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    rows = [{name: value for name, value in row_of(make_pair()).items() if name != "role"}]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert list(read_pairs(path)) == [make_pair(role="solver")]


def test_columns_that_others_added_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row_of(make_pair()) | {"note": "kept by hand"}) + "\n", encoding="utf-8")
    assert list(read_pairs(path)) == [make_pair()]
