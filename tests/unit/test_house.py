"""The figures of the house (`make house`), and how few files one has to read to follow an episode."""

import re
import statistics

from tools.house import SRC, function_lines, functions, loose_dicts, modules, untyped, unused

import pop_selfplay.episode

MODULES, LOOSE_DICTS, FILES_OF_AN_EPISODE = 200, 30, 7


def test_modules_are_few_and_of_a_size_to_be_read_in_one_go() -> None:
    lines = {name: module.lines for name, module in modules().items()}
    assert len(lines) <= MODULES
    assert 90 <= statistics.median(lines.values()) <= 130
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_functions_are_short() -> None:
    lines = function_lines()
    assert lines[int(0.9 * len(lines))] <= 20
    long = {f"{module}.{node.name}" for module, node in functions() if (node.end_lineno or 0) - node.lineno + 1 > 52}
    assert long == set()


def test_every_function_tells_the_types_of_what_it_takes_and_returns() -> None:
    assert untyped() == []


def test_whatever_the_package_defines_it_uses_itself() -> None:
    assert unused() == [], "used by tests, benchmarks or tools alone: move it there, or take it away"


def test_data_has_a_shape_that_is_written_down() -> None:
    assert loose_dicts() < LOOSE_DICTS


def test_an_episode_is_followed_from_the_main_loop_to_a_pair_in_a_few_files() -> None:
    docs = (pop_selfplay.episode.__doc__ or "").split("To follow one")[1]
    path = dict(re.findall(r"^    (\S+\.py) +(.+)$", docs, re.MULTILINE))
    assert len(path) <= FILES_OF_AN_EPISODE
    for file, named in path.items():
        module = modules()["pop_selfplay." + file.removesuffix(".py").replace("/", ".")]
        there = {getattr(node, "name", "") for node in module.tree.body}
        assert {name.split(".")[0] for name in named.split(", ")} <= there, f"{module.path.relative_to(SRC)} has no {named}"
