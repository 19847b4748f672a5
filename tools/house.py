"""The figures of the house: how large its modules and functions are, what nobody uses, and how far one has to walk.

`python -m tools.house`, or `make house`, prints them; tests/unit/test_house.py holds them. The next figure is a function here
and an entry of `FIGURES`.
"""

import ast
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
SRC: Final = ROOT / "src" / "pop_selfplay"
PACKAGE: Final = "pop_selfplay"
FOR_OTHERS: Final = {f"{PACKAGE}.cli.main", f"{PACKAGE}.training.register"}
"""What is called from outside: the command, and by packages that add a trainer. So is what `__init__` exports."""
FOUND_BY_NAME: Final = (f"{PACKAGE}.evaluation.benchmarks.", ("make_task", "read", "summary"))
"""The modules that a table names, and what is called in each of them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """One file of the package: its dotted name, and what is in it."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())


@cache
def modules() -> dict[str, Module]:
    """Return every module of the package by its dotted name, a package's `__init__` by the package's."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join((PACKAGE, *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
        found[name] = Module(name, path, text, ast.parse(text))
    return found


def functions() -> Iterator[tuple[str, Function]]:
    """Yield every function and method of the package with the module it is in."""
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                yield module.name, node


def function_lines() -> list[int]:
    """Return the length of every function in lines, docstring included, decorators not."""
    return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for _, node in functions())


def untyped() -> list[str]:
    """Return the functions that lack the type of an argument or of what they return."""
    return [f"{module}.{node.name}" for module, node in functions() if not _is_typed(node)]


def _is_typed(node: Function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    bare = [one for one in arguments if one is not None and one.annotation is None]
    return node.returns is not None and not [one for one in bare if one.arg not in {"self", "cls"}]


def imports(module: Module) -> dict[str, set[str]]:
    """Return module → the names taken from it, of all that `module` imports from the package, in functions, too.

    A module that is imported itself has the name "".
    """
    found: dict[str, set[str]] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                whole, name = (inner, "") if inner in modules() else (node.module, alias.name)
                found.setdefault(whole, set()).add(name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules():
                    found.setdefault(alias.name, set()).add("")
    return found


def cycles() -> list[list[str]]:
    """Return the circles of the import graph, each as the modules on it: groups in which each one leads to each other."""
    graph = {name: set(imports(module)) - {name} for name, module in modules().items()}
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset({name} | {other for other in reached[name] if name in reached[other]}) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def unused() -> list[str]:
    """Return the top-level names that nothing in the package uses: only tests, benchmarks or tools do, or nobody."""
    rooms, called = FOUND_BY_NAME
    used = FOR_OTHERS | {f"{module}.{name}" for module in modules() if module.startswith(rooms) for name in called}
    used |= {f"{PACKAGE}.{name}" for name in _exported(modules()[PACKAGE])}
    for module in modules().values():
        used |= _used_by(module)
    used = {_origin(name) for name in used}
    defined = {f"{module}.{name}" for module in modules() for name in _defined(module)}
    return sorted(defined - used)


@cache
def _defined(module_name: str) -> set[str]:
    """Return the top-level names of a module, but for what a decorator registers somewhere else, and dunder names."""
    found: set[str] = set()
    for node in modules()[module_name].tree.body:
        if isinstance(node, (Function, ast.ClassDef)):
            if not any(_registers(decorator) for decorator in node.decorator_list):
                found.add(node.name)
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("__") and name != "_"}


def _registers(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr in {"command", "callback", "register"}


def _used_by(module: Module) -> set[str]:
    """Return the full names that `module` uses. In a package's `__init__` an import alone is no use, but passes a name on."""
    known = _known_as(module.name)
    found: set[str] = set()
    for statement in module.tree.body:
        own = {getattr(statement, "name", "")}  # a function that calls itself, or a class that returns itself
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own:
                found.add(known.get(node.id, f"{module.name}.{node.id}"))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                found.add(f"{known[node.value.id]}.{node.attr}")
            elif place := _place(node):
                found.add(place)
            elif not module.is_package and (written := _forward(node)):
                found |= {known.get(name, f"{module.name}.{name}") for name in written - own}
    return found


def _place(node: ast.AST) -> str:
    """Return the full name in a string that says where something is, as module:name; "" for anything else."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text.replace(":", ".") if re.fullmatch(rf"{PACKAGE}[\w.]*:\w+", text) else ""


def _forward(node: ast.AST) -> set[str]:
    """Return the names in a string that may be a forward reference."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return set(re.findall(r"\w+", text)) if len(text) < 80 and re.fullmatch(r"[\w\[\], |.]+", text) else set()


@cache
def _known_as(module_name: str) -> dict[str, str]:
    """Return the name in the module → the full name of what it imports from the package."""
    found: dict[str, str] = {}
    for node in ast.walk(modules()[module_name].tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _origin(name: str) -> str:
    """Follow `name` through the packages that only pass it on to the module that defines it."""
    module, _, last = name.rpartition(".")
    while module in modules() and last not in _defined(module):
        known = _known_as(module).get(last)
        if known is None or known == f"{module}.{last}":  # what is passed on is a module
            break
        module, _, last = known.rpartition(".")
    return f"{module}.{last}"


def _exported(module: Module) -> set[str]:
    """Return the strings of `__all__`, and of the table that says where each exported name lies."""
    return {node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def loose_dicts() -> int:
    """Return on how many lines of the package `dict[str, Any]` stands: data whose shape nobody has written down."""
    return sum(line.count("dict[str, Any]") > 0 for module in modules().values() for line in module.text.splitlines())


def _percentile(values: list[int], share: float) -> int:
    return values[min(len(values) - 1, int(share * len(values)))]


FIGURES: Final[dict[str, Callable[[], object]]] = {
    "modules": lambda: len(modules()),
    "lines of a module, median": lambda: statistics.median(module.lines for module in modules().values()),
    "lines of a module, most": lambda: max(module.lines for module in modules().values()),
    "modules under 60 lines": lambda: sum(module.lines < 60 for module in modules().values()),
    "functions": lambda: len(function_lines()),
    "lines of a function, median": lambda: statistics.median(function_lines()),
    "lines of a function, p90": lambda: _percentile(function_lines(), 0.9),
    "lines of a function, most": lambda: function_lines()[-1],
    "functions without all types": lambda: len(untyped()),
    "top-level names": lambda: sum(len(_defined(name)) for name in modules()),
    "names that the package does not use": lambda: len(unused()),
    "lines with dict[str, Any]": loose_dicts,
    "circles of imports": lambda: len(cycles()),
}


def main() -> None:
    """Print every figure, and what is behind those that should be 0."""
    for name, figure in FIGURES.items():
        sys.stdout.write(f"{name:<38} {figure():>6}\n")
    for what in (*unused(), *untyped(), *(" → ".join(circle) for circle in cycles())):
        sys.stdout.write(f"    {what}\n")


if __name__ == "__main__":
    main()
