"""A suite is a name, a benchmark, or a file; a wrong one is refused before anything is asked."""

import re
from pathlib import Path

import pytest

from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks import BENCHMARKS, load_tasks
from pop_selfplay.evaluation.specs import SUITES, load_suite


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_holds_known_benchmarks(suite: str) -> None:
    choices = load_suite(suite)
    assert [choice.name for choice in choices] == list(SUITES[suite]) and choices


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_module(name: str) -> None:
    tasks = load_tasks(BENCHMARKS[name])
    assert all(callable(getattr(tasks, function)) for function in ("make_task", "read", "summary"))
    assert [choice.name for choice in load_suite(name)] == [name]


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "benchmarks:\n- math_500\n- {name: gsm8k, limit: 5, temperature: 0.5, options: {fewshot: 8}}\n", encoding="utf-8"
    )
    math, gsm8k = load_suite(str(path))
    assert math.decoding == BENCHMARKS["math_500"].decoding and math.limit is None
    assert gsm8k.decoding == BENCHMARKS["gsm8k"].decoding._replace(temperature=0.5)
    assert (gsm8k.limit, gsm8k.all_options) == (5, {"fewshot": 8})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("benchmarks: [gsm9k]", "gsm9k"),
        ("benchmarks: [{name: gsm8k, options: {shots: 3}}]", "shots"),
        ("benchmarks: [{name: gsm8k, options: {fewshot: many}}]", "fewshot"),
        ("benchmarks: [{name: gsm8k, heat: 1}]", "heat: there is no such setting"),
        ("benchmarks: [gsm8k, gsm8k]", "twice"),
        ("benchmarks: []", "at least 1"),
        ("benchmarks: [", "YAML"),
        ("benchmarks: gsm8k", r"must be a list, as in \[a, b\]"),
        ("[]", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_suite(str(path))


def test_an_unknown_suite_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="reasoning"):
        load_suite("everything")
    with pytest.raises(ConfigError, match="No such file"):
        load_suite("nowhere.yaml")


def test_every_benchmark_option_and_suite_is_documented_as_it_is() -> None:
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells for line in text.splitlines() if (cells := [cell.strip() for cell in line.strip("|").split("|")])}
    for name, names in SUITES.items():
        assert set(re.findall(r"`([^`]+)`", rows[f"`{name}`"][1])) == set(names)
    for name, benchmark in BENCHMARKS.items():
        row = rows.get(f"`{name}` ⚖" if benchmark.judged else f"`{name}`")
        assert row is not None, f"{name} is not in the table"
        assert set(re.findall(r"`([^`]+)` \(", row[4])) == set(benchmark.options)
        if benchmark.decoding.epochs > 1:
            assert str(benchmark.decoding.epochs) in row[2] and str(benchmark.decoding.temperature) in row[2]
