"""How far every learning test is from failing: over seeds and instruction sets, each figure against its bound.

    python tools/learning_margins.py --shifts 0,1,2,3,4 --isas avx2,default [--reports DIR] [--json FILE] [pytest arguments]

Tests marked `learning` write their figures and bounds into pytest's XML report (tests/learning.py). This runs them once for
each shift of their seeds and each instruction set, and prints, as a Markdown table, the figure that came nearest to its bound,
where that was, and how many trials there were. A failed trial is told, and ends the command with code 1. With `--reports` every
trial's report is kept in that directory, and a trial whose report is there is not run again. A new instruction set goes into
ISAS.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

ROOT: Final = Path(__file__).parents[1]
ISAS: Final[dict[str, dict[str, str]]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""What PyTorch's own kernels and oneDNN's may use, by the variables that both read when they start."""


class Seen(NamedTuple):
    """A figure of one trial and the bound that it had to be above, or below where `sign` is -1."""

    value: float
    sign: int
    bound: float
    trial: str

    @property
    def room(self) -> float:
        """How far the figure was inside of its bound."""
        return self.sign * (self.value - self.bound)


def read(report: Path, trial: str) -> tuple[dict[tuple[str, str], list[Seen]], list[str]]:
    """Return the figures in pytest's XML `report`, by test and name, and the names of the tests that failed."""
    found, failed = defaultdict[tuple[str, str], list[Seen]](list), []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{name} ({trial})")
        for entry in case.iter("property"):
            value, sign, bound = str(entry.get("value")).split(" ")
            found[name, str(entry.get("name"))].append(Seen(float(value), 1 if sign == ">" else -1, float(bound), trial))
    return found, failed


def run_trial(shift: int, isa: str, report: Path, arguments: list[str]) -> None:
    """Run the learning tests once and write pytest's `report`. Raises SystemExit where pytest could not run them."""
    environment = os.environ | ISAS[isa] | {"POP_SEED_SHIFT": str(shift)}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "learning", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        report.unlink(missing_ok=True)
        raise SystemExit(f"pytest ended with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def nearest(seen: list[Seen]) -> Seen:
    """Return the figure that came nearest to its bound."""
    return min(seen, key=lambda one: one.room)


def rows(figures: dict[tuple[str, str], list[Seen]]) -> list[dict[str, Any]]:
    """Return one row for each figure, as the results file has them: all values, so that another bound can be judged by them."""
    return [
        {
            "test": test,
            "figure": name,
            "bound": f"{'>' if seen[0].sign > 0 else '<'} {seen[0].bound:g}",
            "nearest": nearest(seen).value,
            "values": {one.trial: float(f"{one.value:.4g}") for one in seen},
        }
        for (test, name), seen in sorted(figures.items())
    ]


def table(figures: dict[tuple[str, str], list[Seen]]) -> str:
    """Return the figures as a Markdown table, the one nearest to its bound for each name."""
    lines = ["| test | figure | bound | nearest | where | trials |", "|---|---|--:|--:|---|--:|"]
    for (test, name), seen in sorted(figures.items()):
        least = nearest(seen)
        bound = f"{'>' if least.sign > 0 else '<'} {least.bound:g}"
        lines.append(f"| {test} | {name} | {bound} | {least.value:.4g} | {least.trial} | {len(seen)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shifts", default="0,1,2,3,4", help="what is added to every seed, comma-separated")
    parser.add_argument("--isas", default=",".join(ISAS), help=f"instruction sets, comma-separated: {', '.join(ISAS)}")
    parser.add_argument("--reports", type=Path, help="keep pytest's reports here, and go on with those that are here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options, arguments = parser.parse_known_args()
    figures, failed = defaultdict[tuple[str, str], list[Seen]](list), list[str]()
    with nullcontext(options.reports) if options.reports else tempfile.TemporaryDirectory() as folder:
        for isa in options.isas.split(","):
            for shift in map(int, options.shifts.split(",")):
                report = Path(folder) / f"{isa}-{shift}.xml"
                if not report.is_file():
                    run_trial(shift, isa, report, arguments)
                found, missed = read(report, f"shift {shift}, {isa}")
                failed += missed
                for key, seen in found.items():
                    figures[key] += seen
    if options.json:
        options.json.write_text(json.dumps(rows(figures), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures) + "\n" + "".join(f"failed: {name}\n" for name in failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
