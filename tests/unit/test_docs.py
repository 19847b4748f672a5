"""The docs say what is: every setting, default, file, field and reason; configs that load, commands and modules that exist."""

import ast
import functools
import json
import re
import shlex
import sqlite3
import typing
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from tools import reference
from tools.house import PACKAGE, Module, modules
from tools.reference import Setting, models_in, settings
from typer.core import TyperGroup
from typer.main import get_command

import pop_selfplay as pop
from pop_selfplay import errors, judging
from pop_selfplay.cli import app
from pop_selfplay.config import RunConfig, parse_config, training
from pop_selfplay.corpus.rows import Reason
from pop_selfplay.domains import Domain, prompt_files
from pop_selfplay.errors import PopError
from pop_selfplay.evaluation.audit import THRESHOLDS
from pop_selfplay.evaluation.audit.audit import JOURNAL, LOCK, RESULT
from pop_selfplay.evaluation.specs import SuiteFile
from pop_selfplay.results.run import HeldOut, HeldOutAnswers, OnlineResult, SFTResult, TrainingResult
from tests.integration.runs import small_run
from tests.schemas import assert_valid

ROOT = Path(__file__).parents[2]
GENERATED = {ROOT / "docs" / page for page in reference.PAGES}
PAGES = (ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - GENERATED))
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
MINIMAL = {
    "domain": "health_care",
    "corpus": {"type": "files", "paths": ["texts/"]},
    "model": {"type": "local", "path": "model/"},
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(pop [^`\n]+)`")


# --- the config tree --------------------------------------------------------------------------------------------------


SETTINGS = tuple(settings(RunConfig))
CONFIG_PLACES = sorted({setting.place for setting in SETTINGS})


# --- the tables of docs/configuration.md ------------------------------------------------------------------------------


def place_of(heading: str) -> str:
    """Return the place a heading is about: "`corpus`, `type: files`" is "corpus: files", "Top level" is ""."""
    return ": ".join(part.removeprefix("type: ") for part in re.findall(r"`([^`]+)`", heading))


def documented() -> dict[tuple[str, str], str]:
    """Return (place, setting) → the cell with its default, over all tables whose first column is "setting"."""
    found: dict[tuple[str, str], str] = {}
    place, columns = "", list[str]()
    for line in CONFIGURATION.splitlines():
        if line.startswith("#"):
            place = place_of(line)
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            columns = []
        elif not columns:
            columns = cells
        elif columns[0] == "setting" and not cells[0].startswith("---"):
            for column, cell in zip(columns[1:], cells[1:], strict=True):
                role = column.strip("`")
                if column == "default" or role != column:
                    key = (place if column == "default" else f"{place}.{role}", cells[0].strip("`"))
                    assert key not in found, f"{key} is documented twice"
                    found[key] = cell
    return found


DOCUMENTED = documented()


def test_the_walk_finds_settings_at_every_depth_and_in_every_type() -> None:
    paths = {(setting.place, setting.name) for setting in SETTINGS}
    assert {("", "seed"), ("synthesis.judge", "max_tokens"), ("model: endpoint", "weights"), ("training: dpo", "dpo")} <= paths
    assert next(s.default for s in SETTINGS if (s.place, s.name) == ("synthesis.judge", "temperature")) == 0


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(DOCUMENTED) == {(setting.place, setting.name) for setting in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: f"{setting.place}.{setting.name}".strip("."))
def test_the_documented_default_is_the_default(setting: Setting) -> None:
    cell = DOCUMENTED[setting.place, setting.name]
    if setting.field.is_required():
        assert cell == "*required*"
    elif isinstance(setting.default, BaseModel):
        kind = getattr(setting.default, "type", None)
        assert cell == ("see below" if kind is None else f"`type: {kind}`")
    else:
        assert yaml.safe_load(cell.strip("`")) == setting.default


def test_every_type_of_a_union_has_a_heading() -> None:
    variants = {
        f"{name}: {model.model_fields['type'].default}"
        for name, field in RunConfig.model_fields.items()
        for model in models_in(field.annotation)
        if "type" in model.model_fields
    }
    assert variants <= {place_of(line) for line in CONFIGURATION.splitlines() if line.startswith("#")}


# --- code blocks ------------------------------------------------------------------------------------------------------


def blocks(*languages: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}:{text[: match.start()].count(chr(10)) + 1}", match[2])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
        if match[1] in languages
    ]


YAML_BLOCKS = blocks("yaml")


@pytest.mark.parametrize(("place", "text"), YAML_BLOCKS, ids=[place for place, _ in YAML_BLOCKS])
def test_every_yaml_block_is_valid_where_it_belongs(place: str, text: str) -> None:
    """A whole run config loads as it is, a part of one over a minimal one, suites, and domain.yaml files."""
    data = yaml.safe_load(text)
    if MINIMAL.keys() <= data.keys():
        parse_config(data, place)
    elif data.keys() == {"benchmarks"}:
        SuiteFile.model_validate(data)
    elif data.keys() <= RunConfig.model_fields.keys():
        parse_config({**MINIMAL, **data}, place)
    else:
        Domain.model_validate({"name": "x", **data})


# --- commands ---------------------------------------------------------------------------------------------------------


def commands() -> list[tuple[str, str]]:
    """Return every line of a shell block that begins with pop, continued lines joined, and every `pop …` in the prose."""
    found = []
    for place, text in blocks("", "sh", "bash", "console"):
        lines = text.replace("\\\n", " ").splitlines()
        found += [(place, line.removeprefix("$ ")) for line in lines if line.removeprefix("$ ").startswith("pop ")]
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, match[1]) for match in INLINE.finditer(prose)]
    return found


COMMANDS = commands()


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}
    assert menu == pages | set(reference.PAGES), "a page goes into `nav` of mkdocs.yml"


def test_there_are_commands_and_configs_to_check() -> None:
    assert len(COMMANDS) > 10 and len(YAML_BLOCKS) > 5


@functools.cache
def pop_command() -> Any:
    return get_command(app)


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place} {line}" for place, line in COMMANDS])
def test_every_command_exists_with_its_options(place: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: Any = pop_command()
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"pop has no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    options = {name: option for option in command.params for name in option.opts if name.startswith("-")}
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    given = 0
    while words:
        word, equals, _ = words.pop(0).partition("=")
        if not word.startswith("-"):
            given += 1
        elif word != "--help":
            assert word in options, f"{command.name} has no option {word}"
            if not options[word].is_flag and not equals:
                value = words.pop(0)
                assert word != "--set" or is_setting(value.partition("=")[0]), f"no setting {value}"
    any_number = any(argument.nargs == -1 for argument in arguments)
    assert given <= len(arguments) or any_number, f"{command.name} takes fewer arguments"


def is_setting(dotted: str) -> bool:
    """Whether --set knows `dotted`: synthesis.candidates, corpus.paths, a type, or anything below teachers and dpo."""
    known = {re.sub(r": \w+", "", f"{setting.place}.{setting.name}").strip(".") for setting in SETTINGS}
    known |= {f"{place.partition(':')[0]}.type" for place in CONFIG_PLACES if ":" in place}
    return dotted in known or dotted.startswith(("teachers.", "training.dpo.", "training.sft.", "training.grpo."))


# --- the run directory and the domains --------------------------------------------------------------------------------

RUN_DIRECTORY = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a small finished run in which much was refused."""
    return small_run(tmp_path_factory.mktemp("docs"))


def test_every_query_runs_and_all_but_the_lookups_find_something(run: Path) -> None:
    queries = [text for place, text in blocks("sql") if place.startswith("run-directory.md")]
    with closing(sqlite3.connect(run / "run.db")) as db:
        found = [db.execute(query).fetchall() for query in queries]
    assert len(found) == 6 and sum(map(bool, found)) >= 3


def test_every_table_and_column_of_the_journal_is_documented(run: Path) -> None:
    with closing(sqlite3.connect(run / "run.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [row[1] for table in tables for row in db.execute(f"PRAGMA table_info({table})")]
    assert [name for name in (*tables, *columns) if f"`{name}`" not in RUN_DIRECTORY] == []


def test_every_file_and_every_field_of_the_result_is_documented(run: Path) -> None:
    def names(node: Any) -> Iterator[str]:
        for key, value in node.items() if isinstance(node, dict) else ():
            yield key
            if key not in ("dropped", "roles"):
                yield from names(value)
        for value in node if isinstance(node, list) else ():
            yield from names(value)

    assert_valid(run / "result.json", "result")
    fields = set(names(json.loads((run / "result.json").read_text(encoding="utf-8")))) | set(TrainingResult.model_fields)
    for figures in (OnlineResult, SFTResult, HeldOut, HeldOutAnswers):
        fields |= set(figures.model_fields)
    assert [name for name in sorted(fields) if not re.search(rf"`[^`\n]*\b{name}`", RUN_DIRECTORY)] == []
    assert [path.name for path in run.iterdir() if f"`{path.name}`" not in RUN_DIRECTORY] == []


def test_every_reason_is_documented() -> None:
    package = Path(pop.__file__).parent
    said = re.compile(r"(?:Rejection\(|reason=)\"(\w+)\"")
    sources = [
        *package.glob("method/*.py"),
        package / "pairing.py",
        *package.glob("stages/*.py"),
        *package.glob("judging/*.py"),
    ]
    reasons = {reason for path in sources for reason in said.findall(path.read_text(encoding="utf-8"))} - {"not_asked"}
    reasons |= {*typing.get_args(Reason), "too_short", "duplicate_text", "duplicate_id"}
    reasons |= set(re.findall(r"^    [A-Z_]+ = \"(\w+)\"", (package / "training" / "data.py").read_text("utf-8"), re.MULTILINE))
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in RUN_DIRECTORY] == []
    assert len(reasons) > 30


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = set(re.findall(r"^\| (\d) \|", RUN_DIRECTORY.split("## Exit codes")[1], re.MULTILINE))
    codes = {value.exit_code for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PopError)}
    assert rows == {str(code) for code in codes | {0}}


def test_the_table_of_prompts_says_which_places_each_may_use() -> None:
    text = (ROOT / "docs" / "domains.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\.md` \| [^|]* \| ([^|]*) \|", text, re.MULTILINE)
    assert {name: frozenset(re.findall(r"`(\w+)`", places)) for name, places in rows} == {
        name: file.places for name, file in prompt_files().items()
    }


def test_the_example_domain_is_shown_as_it_is() -> None:
    text = (ROOT / "docs" / "domains.md").read_text(encoding="utf-8")
    for name in ("domain.yaml", "solve.md"):
        assert (ROOT / "examples" / "recipes_domain" / name).read_text(encoding="utf-8").strip() in text


def test_every_limit_and_option_of_the_audit_is_documented() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    table = text.split("<!-- limits -->")[1].split("<!-- /limits -->")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (below|above) ([\d.]+) \|$", table, re.MULTILINE)
    assert [(name, side, float(value)) for name, side, value in rows] == [
        (name, "below" if limit.side == "at_least" else "above", limit.value) for name, limit in THRESHOLDS.items()
    ]
    command = pop_command().commands["audit"]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")} - {"--help"}
    assert set(re.findall(r"^\| `(--[\w-]+)", text, re.MULTILINE)) == options
    assert [path for path in (JOURNAL, LOCK, RESULT) if f"`{path}`" not in RUN_DIRECTORY] == []


# --- modules named in prose -------------------------------------------------------------------------------------------

FILE_NAME = re.compile(r"(?<![\w./*<-])(?:\w+/)*\w+\.py\b")
DOTTED_NAME = re.compile(rf"\b{PACKAGE}((?:\.\w+)+)")
SOURCES = [path for room in ("src", "tests", "tools", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")]


def prose() -> Iterator[tuple[Path, str]]:
    """Yield what docs/ and README say outside of code, and every docstring and comment of the package, with its file."""
    for page in PAGES:
        yield page, BLOCK.sub("", page.read_text(encoding="utf-8"))
    for module in modules().values():
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docs = [ast.get_docstring(node) or "" for node in ast.walk(module.tree) if isinstance(node, documented)]
        yield module.path, "\n".join([*docs, *re.findall(r"#.*", module.text)])


def defined(module: Module) -> set[str]:
    """Return what can be imported from `module`."""
    if module.name == PACKAGE:
        return set(pop.__all__)
    names = {
        alias.asname or alias.name for node in module.tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names |= {node.id for node in ast.walk(module.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {
        node.name for node in module.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_file_that_docs_and_docstrings_name_is_there() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    missing = [
        f"{place.relative_to(ROOT)}: {name}"
        for place, text in prose()
        for name in FILE_NAME.findall(text)
        if not any(path == name or path.endswith(f"/{name}") for path in there)
    ]
    assert missing == []


def test_every_dotted_name_of_the_package_that_docs_and_docstrings_give_is_there() -> None:
    missing, groups = [], {judging.base.GROUP, training.ENTRY_POINTS}
    for place, text in prose():
        for dotted in DOTTED_NAME.findall(text):
            name, rest = PACKAGE, dotted.split(".")[1:]
            while rest and f"{name}.{rest[0]}" in modules():
                name = f"{name}.{rest.pop(0)}"
            if rest and rest[0] not in defined(modules()[name]) and f"{PACKAGE}{dotted}" not in groups:
                missing.append(f"{place.relative_to(ROOT)}: {PACKAGE}{dotted}")
    assert missing == []
