"""The table of scoring modes: what it takes in, what it refuses, and that nobody else knows a mode by its name."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay
from pop_selfplay.config import Synthesis, complaints, parse_config
from pop_selfplay.domains import prompts_needed
from pop_selfplay.errors import ConfigError
from pop_selfplay.journal import Journal
from pop_selfplay.judging import (
    DEFAULT,
    MODES,
    Judge,
    PromptFile,
    ScoringMode,
    by_itself,
    find_mode,
    mode_names,
    register,
)
from pop_selfplay.judging.base import GROUP
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.records import Candidate, Evaluation, Failure, Problem, Rubric
from tests.integration.runs import simulated_config, write_texts

SRC = Path(pop_selfplay.__file__).parent
NOT_A_MODE = {
    ("evaluation/benchmarks/eq_bench.py", "pairwise"): "EQ-Bench's own prompt and figure of that name",
    ("models/endpoint/reply.py", "logprob"): "a key of OpenAI's JSON",
    ("models/simulated/server.py", "logprob"): "a key of OpenAI's JSON",
}
"""(module, word) → what the word means there, where it is not the mode."""


class Blind(ScoringMode):
    """Gives every candidate the same."""

    name = "blind"
    tokens = 1

    async def score(
        self, judge: Judge, problem: Problem, rubric: Rubric | None, judged: Sequence[Candidate], group: Sequence[Candidate]
    ) -> list[Evaluation | Failure]:
        return [Evaluation(candidate=candidate.index, score=1.0) for candidate in judged]


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """Every test begins and ends with the modes of ours."""
    before = dict(MODES)
    yield
    MODES.clear()
    MODES.update(before)


def named(tree: ast.AST) -> set[str]:
    """Return the names of modes that this code decides by: all it says but as the value of a setting `scoring`."""
    set_to = {id(word.value) for word in ast.walk(tree) if isinstance(word, ast.keyword) and word.arg == "scoring"}
    return {
        word.value
        for word in ast.walk(tree)
        if isinstance(word, ast.Constant) and isinstance(word.value, str) and word.value in MODES and id(word) not in set_to
    }


def test_no_module_outside_of_the_room_compares_a_mode_s_name() -> None:
    found = {
        (str(path.relative_to(SRC)), name)
        for path in SRC.rglob("*.py")
        if path.relative_to(SRC).parts[0] != "judging"
        for name in named(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(NOT_A_MODE)


@pytest.mark.parametrize(
    "code",
    [
        'if mode == "verify": pass',
        'x = {"anchor": 2}[mode]',
        'mode in ("pairwise", "anchor")',
        'match mode:\n    case "logprob": pass',
        'COMPARED = {"pairwise"}',
        'table.get("pointwise")',
        'Mode = Literal["verify", "other"]',
        'config.model_copy(update={"scoring": "pointwise"})',
    ],
)
def test_the_search_finds_every_way_to_know_a_mode_by_its_name(code: str) -> None:
    assert named(ast.parse(code))


def test_writing_a_config_is_no_comparison() -> None:
    assert not named(ast.parse('Synthesis(scoring="per_criterion")'))


def test_an_unknown_mode_is_refused_with_the_one_that_was_meant_and_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"synthesis\.scoring: .*'pontwise'; did you mean pointwise\?.*pairwise.*verify"):
        parse_config(simulated_config(write_texts(tmp_path, 1)).model_dump() | {"synthesis": {"scoring": "pontwise"}})
    with pytest.raises(ConfigError, match=r"no scoring mode 'x'\. Available are pointwise, "):
        find_mode("x")


def test_the_default_is_the_paper_s_mode() -> None:
    assert Synthesis().mode is MODES[DEFAULT]


def test_every_mode_declares_what_belongs_together() -> None:
    for name, mode in MODES.items():
        assert mode.name == name
        assert mode.score_range in (None, SCORES)
        assert bool(mode.prompts) == bool(mode.tokens), "a mode that asks the judge says how long the reply is"
        assert all(prompt.either <= prompt.places for prompt in mode.prompts)
        assert by_itself(mode).score_range == SCORES
    assert {name for name, mode in MODES.items() if by_itself(mode) is not mode} == {"pairwise", "anchor"}
    assert {name for name, mode in MODES.items() if mode.rates_criteria} == {"pointwise", "per_criterion", "logprob"}


def test_a_mode_that_compares_needs_the_prompt_of_its_stand_in_too() -> None:
    assert prompts_needed(Synthesis(scoring="anchor"))[-2:] == ("anchor", "rate")
    assert prompts_needed(Synthesis(scoring="verify")) == ("propose", "solve")


def test_a_registered_mode_can_be_named_in_a_config() -> None:
    register(Blind())
    assert isinstance(Synthesis(scoring="blind").mode, Blind) and mode_names()[-1] == "blind"
    with pytest.raises(ConfigError, match="already"):
        register(Blind())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "verify"}, "already"),
        ({"score_range": (0.0, 100.0)}, r"range \(0\.0, 100\.0\)"),
        ({"prompts": (PromptFile("rate", frozenset({"answer"})),)}, "prompt rate already has other places"),
    ],
)
def test_a_mode_that_cannot_work_is_refused_when_it_is_registered(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        register(type("Odd", (Blind,), changes)())
    assert "blind" not in MODES


@pytest.mark.parametrize(
    ("declared", "settings", "said"),
    [
        ({"takes_votes": False}, {"votes": 2, "judge": {"temperature": 1}}, "votes: 2 make no sense with scoring blind"),
        ({"score_range": None}, {"early_stop": {}}, "scoring blind compares the whole group"),
        ({"needs_rubric": False}, {"score_reference": True}, "score_reference makes no sense with scoring blind"),
    ],
)
def test_settings_are_refused_by_what_a_mode_declares(
    declared: dict[str, object], settings: dict[str, object], said: str
) -> None:
    register(type("Odd", (Blind,), declared)())
    with pytest.raises(ValueError, match=said):
        Synthesis.model_validate({"scoring": "blind", **settings})


def test_other_settings_of_a_config_are_checked_as_if_they_had_been_written() -> None:
    with pytest.raises(ValueError, match="compares the whole group"):
        Synthesis(early_stop={}).changed({"scoring": "pairwise"})
    assert Synthesis(votes=1).changed({"candidates": 7}).candidates == 7


def test_the_mode_that_the_documentation_shows_works_as_it_stands(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "scoring.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    module: dict[str, Any] = {}
    exec(block, module)
    register(module["Weakest"]())
    result = pop_selfplay.run(simulated_config(write_texts(tmp_path / "texts", 8), scoring="weakest"), tmp_path / "run")
    assert result.rounds[0].pairs > 0
    with Journal.open(tmp_path / "run" / "run.db") as journal:
        scored = [e for episode in journal.episodes(1) for e in episode.evaluations]
    assert scored and all(e.score == min(rating.rating for rating in e.ratings) for e in scored)


def test_the_documentation_lists_what_a_mode_declares() -> None:
    text = (Path(__file__).parents[3] / "docs" / "scoring.md").read_text(encoding="utf-8")
    shown = text.split("## A mode of your own")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(\w+)(?:\(\))?` \| [^|]* \| [^|]* \|$", shown, re.MULTILINE))
    assert listed == {*ScoringMode.__annotations__, "calls"}


# --- modes of installed packages --------------------------------------------------------------------------------------

BLIND = """
from pop_selfplay.judging import ScoringMode
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.records import Evaluation

class Mode(ScoringMode):
    name = "installed"

    async def score(self, judge, problem, rubric, judged, group):
        return [Evaluation(candidate=candidate.index, score=1.0) for candidate in judged]
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, code: str, entry: str = "installed = {}:Mode") -> None:
    """Put a package with an entry point where Python finds it."""
    information = folder / f"{package}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[{GROUP}]\n{entry.format(package)}\n", encoding="utf-8")
    (folder / f"{package}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, package, raising=False)


def test_a_config_can_name_the_mode_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "pop_blind", BLIND)
    assert "installed" in mode_names() and "pop_blind" not in sys.modules, "nothing is imported before it is asked for"
    assert Synthesis(scoring="installed").mode.name == "installed"
    assert find_mode("installed") is find_mode("installed")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("Other = 1", "cannot be loaded: AttributeError"),
        ("class Mode: pass", "must be a subclass of"),
        ("Mode = 3", "must be a subclass of"),
        (BLIND.replace('"installed"', '"other"'), "calls itself 'other'"),
        (BLIND.replace("async def score", "async def scores"), "cannot be loaded: TypeError"),
    ],
)
def test_a_broken_package_is_named_with_the_cause(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "pop_broken", code)
    assert Synthesis(scoring="pairwise").scoring == "pairwise", "it harms no run that does not use it"
    with pytest.raises(ConfigError, match=rf"scoring mode installed of package pop_broken \(pop_broken:Mode\) {said}"):
        find_mode("installed")
    with pytest.raises(ValueError, match="package pop_broken") as caught:
        Synthesis(scoring="installed")
    assert "scoring: scoring mode installed of package pop_broken" in complaints(caught.value, Synthesis)[0]  # type: ignore[arg-type]


def test_two_packages_that_bring_the_same_mode_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pop_one", "pop_two"):
        install(tmp_path / package, monkeypatch, package, BLIND)
    with pytest.raises(ConfigError, match="2 packages, pop_one, pop_two"):
        find_mode("installed")
