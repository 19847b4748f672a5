"""Prompt files as other programs write them: read whole, or refused with the row."""

import json
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation.duel.duel import DuelPrompt, read_prompts
from pop_selfplay.evaluation.duel.play import parse_verdict
from pop_selfplay.method.parsing import Parsed


def prompts(path: Path, content: str | bytes) -> list[DuelPrompt]:
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return list(read_prompts(path).prompts)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_ids_may_be_zero_and_a_missing_one_is_the_number_of_the_row(tmp_path: Path) -> None:
    read = prompts(tmp_path / "a.jsonl", lines({"id": 0, "prompt": "a"}, {"id": 1, "prompt": "b"}, {"id": 2, "prompt": "c"}))
    assert [prompt.id for prompt in read] == ["0", "1", "2"]
    read = prompts(tmp_path / "a.jsonl", lines({"prompt": "a"}, {"id": "", "prompt": "b"}, {"id": None, "prompt": "c"}))
    assert [prompt.id for prompt in read] == ["1", "2", "3"]


@pytest.mark.parametrize("difficulty", ["NaN", "Infinity", '"nan"'])
def test_a_difficulty_that_is_no_number_is_refused_with_its_row(tmp_path: Path, difficulty: str) -> None:
    content = lines({"prompt": "a", "difficulty": 1}) + f'{{"prompt": "b", "difficulty": {difficulty}}}\n'
    with pytest.raises(ConfigError, match=r"row 2 of .*not a finite number"):
        prompts(tmp_path / "a.jsonl", content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", 'id,prompt\n1,"never closed\n2,lost\n', "unexpected end of data"),
        ("a.csv", "id,prompt,prompt\n1,a,b\n", "two columns have the same name"),
        ("a.jsonl", lines({"prompt": "a"}, {"prompt": "b", "difficulty": True}), "row 2 of .*'True'"),
        ("a.jsonl", lines({"prompt": "a"}, {"prompt": [{"role": "user", "content": None}]}), "row 2 of .*is empty"),
        ("a.jsonl", lines({"prompt": [{"role": "user", "content": []}]}), "row 1 of .*is empty"),
    ],
)
def test_what_would_lose_or_invent_a_prompt_is_refused(name: str, content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        prompts(tmp_path / name, content)


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "half \ud83d"}]
    read = prompts(tmp_path / "a.jsonl", lines({"id": "\ud83d", "prompt": "half \ud83d smile"}, {"prompt": turns}))
    assert [prompt.text for prompt in read] == ["half \ufffd smile", "half \ufffd"]
    assert read[0].id == "\ufffd"


def test_lines_of_text_end_at_line_breaks_alone_and_a_byte_order_mark_is_none_of_it(tmp_path: Path) -> None:
    content = "\ufeffone\u2028still one\r\ntwo\x85still two\x0btoo\n\nthree"
    read = prompts(tmp_path / "a.txt", content)
    assert [prompt.text for prompt in read] == ["one\u2028still one", "two\x85still two\x0btoo", "three"]


def test_a_field_of_a_table_may_be_long(tmp_path: Path) -> None:
    (prompt,) = prompts(tmp_path / "a.csv", "id,prompt\n1," + "word " * 40_000 + "\n")
    assert len(prompt.text) == 200_000


def test_text_parts_are_joined_and_other_parts_refused(tmp_path: Path) -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hi."}]
    (prompt,) = prompts(tmp_path / "a.jsonl", lines({"prompt": [{"role": "user", "content": parts}]}))
    assert prompt.text == "Say hi."
    parts.append({"type": "image_url", "image_url": {"url": "x"}})
    with pytest.raises(ConfigError, match=r"row 1 of .*text parts, not .*image_url"):
        prompts(tmp_path / "a.jsonl", lines({"prompt": [{"role": "user", "content": parts}]}))


@pytest.mark.parametrize("row", [{"instruction": "Name a fruit."}, {"prompt": "  "}, {"prompt": None}, {"prompt": []}])
def test_a_row_without_a_prompt_is_refused_with_its_fields(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"row 1 of .*missing or empty; the fields of the row are .*{next(iter(row))}"):
        prompts(tmp_path / "a.jsonl", lines(row))


@pytest.mark.parametrize("content", [lines({"prompt": "a"}, {"prompt": "b"}), json.dumps([{"prompt": "a"}, {"prompt": "b"}])])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_is_read_by_what_it_holds(tmp_path: Path, name: str, content: str) -> None:
    assert [prompt.text for prompt in prompts(tmp_path / name, content)] == ["a", "b"]


def test_two_criteria_of_one_name_are_refused_with_the_row(tmp_path: Path) -> None:
    rubric = [{"name": name, "description": "d", "weight": 1, "gold": "g"} for name in ("Dose", "dose")]
    with pytest.raises(ConfigError, match=r"row 1 of .*two criteria have the same name"):
        prompts(tmp_path / "a.jsonl", lines({"prompt": "a", "rubric": rubric}))


@pytest.mark.parametrize(("verdict", "value"), [("a", "A"), ("**B**", "B"), ("Tie", "tie"), ("Answer A.", "A")])
def test_a_verdict_that_leaves_no_doubt_is_read(verdict: str, value: str) -> None:
    assert parse_verdict(f"<better_answer>{verdict}</better_answer>") == Parsed(value, repaired=True)
