"""How well are equal final answers told from different ones, over the table of answers that the tests use?

    python benchmarks/equal_answers.py [--also NAME=MODULE:FUNCTION ...] [--json FILE]

tests/unit/method/answers.json holds families of answers: forms in one group say the same, groups of a family do not. So every
pair within a group is equal, every pair over two groups of a family different; each is tried in both orders. `--also` measures
another grader beside ours, any function of (answer, right answer) that can be imported: the graders of MATH (Hendrycks et al.
2021) and PRM800K (Lightman et al. 2023) are functions of that kind. One that raises has said "different".
"""

import argparse
import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pop_selfplay.method.answers import equal_answers

TABLE: Final = Path(__file__).parents[1] / "tests" / "unit" / "method" / "answers.json"
Grader = Callable[[str, str], object]
Figures = dict[str, float | int]


def main() -> None:
    """Measure ours and the other graders, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=MODULE:FUNCTION", help="another grader")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    graders: dict[str, Grader] = {"equal_answers": equal_answers}
    graders |= {name: grader_at(place) for name, place in (also.split("=", 1) for also in options.also)}
    found = {name: measure(grader) for name, grader in graders.items()}
    sys.stdout.write(markdown(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def grader_at(place: str) -> Grader:
    module, function = place.split(":")
    grader: Grader = getattr(importlib.import_module(module), function)
    return grader


def pairs() -> Iterator[tuple[str, str, bool]]:
    """Yield each pair of the table in both orders, and whether it is equal."""
    for groups in json.loads(TABLE.read_text(encoding="utf-8")).values():
        for group in groups:
            yield from ((one, other, True) for one, other in itertools.permutations(group, 2))
        for mine, others in itertools.permutations(groups, 2):
            yield from ((one, other, False) for one, other in itertools.product(mine, others))


def measure(grader: Grader) -> Figures:
    """Return how many equal pairs a grader misses, and how many different ones it calls equal."""
    counts = {"equal": 0, "missed": 0, "different": 0, "falsely_equal": 0}
    begin = time.perf_counter()
    for one, other, equal in pairs():
        try:
            said = bool(grader(one, other))
        except Exception:  # noqa: BLE001 - of other people's graders anything may be raised
            said = False
        counts["equal" if equal else "different"] += 1
        if said != equal:
            counts["missed" if equal else "falsely_equal"] += 1
    total = counts["equal"] + counts["different"]
    return {**counts, "ms_per_pair": round(1000 * (time.perf_counter() - begin) / total, 2)}


def markdown(found: dict[str, Figures]) -> str:
    """Return one row for each grader."""
    rows = ["| grader | equal pairs missed | different pairs called equal | ms a pair |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {name} | {of['missed']} of {of['equal']} | {of['falsely_equal']} of {of['different']} | {of['ms_per_pair']} |"
        for name, of in found.items()
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
