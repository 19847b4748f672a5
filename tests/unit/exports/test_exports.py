"""What a run made, in others' formats: rows as their documentation asks for them, any text stored, nothing half written."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, Field
from tests.integration.runs import simulated_config, small_run, write_texts
from tests.unit.journal.test_pairs import make_pair
from tests.unit.stages.scripted import RUBRIC
from typer.testing import CliRunner

import pop_selfplay as pop
from pop_selfplay.cli import app
from pop_selfplay.errors import UsageError
from pop_selfplay.exports import FORMATS, ExportedProblem, PairFormat, ProblemFormat, card_path, grpo_row, verifiers_row
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.pairs import row_of, write_rows
from pop_selfplay.labels import Label, add, now
from pop_selfplay.records import Message, Problem, Rubric

STRANGE = 'lone \ud800, NUL \0, quote ", line \u2028 and 😀'
PAIRS = [name for name, format_ in FORMATS.items() if isinstance(format_, PairFormat)]
PROBLEMS = [name for name, format_ in FORMATS.items() if isinstance(format_, ProblemFormat)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("exports"))


def rows_of(run: Path, tmp_path: Path, name: str) -> list[dict[str, Any]]:
    out = tmp_path / "out.jsonl"
    count = pop.export(run, out, name)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == count > 0
    return rows


@pytest.mark.parametrize("name", FORMATS)
def test_both_kinds_of_file_hold_the_same_rows(run: Path, tmp_path: Path, name: str) -> None:
    rows = rows_of(run, tmp_path, name)
    if ".parquet" not in FORMATS[name].suffixes:
        with pytest.raises(UsageError, match=r"'out\.parquet' has the wrong suffix for this format: use one of \.jsonl"):
            pop.export(run, tmp_path / "out.parquet", name)
        return
    pop.export(run, tmp_path / "out.parquet", name)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows
    assert list(rows[0]) == FORMATS[name].schema.names


def test_a_folder_that_is_missing_is_made(run: Path, tmp_path: Path) -> None:
    assert pop.export(run, tmp_path / "new" / "deeper" / "pairs.jsonl") > 0
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot make the folder .*file"):
        pop.export(run, tmp_path / "file" / "pairs.jsonl")


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_a_run_that_was_stopped_come_from_its_episodes(run: Path, tmp_path: Path, name: str) -> None:
    rows = rows_of(run, tmp_path, name)
    shutil.copytree(run, tmp_path / "stopped")
    (tmp_path / "stopped" / "pairs.parquet").unlink()
    assert rows_of(tmp_path / "stopped", tmp_path, name) == rows


def test_problems_are_more_than_pairs_and_have_their_rubrics(run: Path, tmp_path: Path) -> None:
    grpo, trl = rows_of(run, tmp_path, "grpo"), rows_of(run, tmp_path, "trl")
    assert {row["problem_id"] for row in trl} <= {row["problem_id"] for row in grpo}
    for row in grpo:
        assert Rubric.model_validate_json(row["rubric"]).criteria
        assert row["prompt"][-1]["role"] == "user" and row["problem"] in row["prompt"][-1]["content"]


def test_verl_s_rows_have_the_documented_columns(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "verl")
    for index, row in enumerate(rows):
        assert set(row) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
        assert row["data_source"] == "pop/health_care" and row["ability"] == "health_care"
        assert row["reward_model"]["style"] == "rule"
        assert Rubric.model_validate_json(row["reward_model"]["ground_truth"]).criteria
        assert (row["extra_info"]["split"], row["extra_info"]["index"]) == ("train", index)


def test_the_info_of_verifiers_is_json_that_the_reward_understands(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "verifiers")
    infos = [json.loads(row["info"]) for row in rows]
    columns = {name: [info[name] for info in infos] for name in infos[0]}
    with pop.reward(judge={"type": "simulated"}, domain="health_care") as reward:
        rewards = reward([row["prompt"] for row in rows], ["<answer>rest</answer>"] * len(rows), **columns)
    assert all(value is not None for value in rewards)


class Turn(BaseModel):
    """A message as OpenAI's guide has it."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class Answer(Turn):
    role: Literal["assistant"]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")
    messages: list[Turn] = Field(min_length=1)
    tools: list[Any]
    parallel_tool_calls: bool


class Line(BaseModel):
    """One line of a preference file: platform.openai.com/docs/guides/direct-preference-optimization."""

    model_config = ConfigDict(extra="forbid")
    input: Input
    preferred_output: list[Answer] = Field(min_length=1)
    non_preferred_output: list[Answer] = Field(min_length=1)


def test_every_line_for_openai_is_what_its_guide_asks_for(run: Path, tmp_path: Path) -> None:
    lines = [Line.model_validate(row) for row in rows_of(run, tmp_path, "openai")]
    for line in lines:
        assert line.input.messages[-1].role == "user"
        assert line.preferred_output != line.non_preferred_output


@pytest.mark.parametrize(("name", "suffix"), [(name, suffix) for name in FORMATS for suffix in FORMATS[name].suffixes])
def test_whatever_a_model_wrote_can_be_stored(tmp_path: Path, name: str, suffix: str) -> None:
    format_ = FORMATS[name]
    criterion = RUBRIC.criteria[0].model_copy(update={"name": STRANGE})
    asked = ExportedProblem(
        0, Problem(id=STRANGE, document_id=STRANGE, text=STRANGE, reference_answer=STRANGE),
        Rubric(criteria=(criterion,)), (Message(role="user", content=STRANGE),), STRANGE, 1,
    )  # fmt: skip
    row = format_.row(make_pair(answer=STRANGE)) if isinstance(format_, PairFormat) else format_.row(asked)
    out = tmp_path / f"out{suffix}"
    assert write_rows([row], out, format_.schema) == 1
    assert b"\x00" not in out.read_bytes() or suffix == ".parquet"
    if suffix == ".jsonl":
        assert "😀" in out.read_text(encoding="utf-8") or "\\ud83d" in out.read_text(encoding="utf-8")


def test_problems_whose_answers_are_verified_have_no_rubric() -> None:
    asked = ExportedProblem(0, Problem(id="a", document_id="d", text="1 + 1?", reference_answer="2"), None, (), "math", 1)
    assert grpo_row(asked)["rubric"] == ""
    assert json.loads(str(verifiers_row(asked)["info"]))["rubric"] is None


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """A failure on the way leaves what was there, and no more than a group of rows is held."""

    def failing() -> Iterator[dict[str, Any]]:
        yield row_of(make_pair())
        raise UsageError("stop")

    out = tmp_path / "out.jsonl"
    out.write_text("before", encoding="utf-8")
    with pytest.raises(UsageError):
        write_rows(failing(), out, FORMATS["trl"].schema)
    assert out.read_text(encoding="utf-8") == "before" and list(tmp_path.iterdir()) == [out]


def test_labels_are_a_table_without_a_card_that_is_not_uploaded(run: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "run"
    shutil.copytree(run, labelled)
    given = [Label(episode="1/a/0", kind="mark", author=author, time=now(), mark="bad_criterion") for author in ("ann", "bob")]
    add(labelled, given)
    for suffix in (".jsonl", ".parquet"):
        out = tmp_path / "new" / f"labels{suffix}"
        shown = CliRunner().invoke(app, ["export", str(labelled), "--out", str(out), "--format", "labels"])
        assert shown.exit_code == 0 and "2 rows" in shown.output and "card" not in shown.output
        assert not card_path(out).exists()
    rows = [json.loads(line) for line in (tmp_path / "new" / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["author"] for row in rows] == ["ann", "bob"]
    assert pq.read_table(tmp_path / "new" / "labels.parquet").to_pylist() == rows
    with pytest.raises(UsageError, match="not uploaded: leave out --push-to-hub"):
        pop.export(labelled, tmp_path / "labels.jsonl", "labels", push_to_hub="me/labels")
    with pytest.raises(UsageError, match="wrong suffix"):
        pop.export(labelled, tmp_path / "labels.csv", "labels")


def test_an_unknown_format_is_refused_with_those_that_are_known(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nemo': choose one of trl, grpo, verl, verifiers, openai"):
        pop.export(run, tmp_path / "out.jsonl", "nemo")


@pytest.mark.parametrize("name", ["grpo", "trl"])
def test_a_run_without_a_finished_episode_has_nothing_to_export(tmp_path: Path, name: str) -> None:
    RunDirectory.create(tmp_path / "run", simulated_config(write_texts(tmp_path / "texts", 2)))
    with pytest.raises(UsageError, match="no finished episode yet"):
        pop.export(tmp_path / "run", tmp_path / "out.jsonl", name)


def test_the_table_says_which_formats_hold_pairs_and_which_problems() -> None:
    assert set(PAIRS) == {"trl", "openai"} and set(PROBLEMS) == {"grpo", "verl", "verifiers"}
