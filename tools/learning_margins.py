"""How far every learning test is from failing: over seeds and instruction sets, each figure against its bound.

    python tools/learning_margins.py --shifts 0,1,2,3,4 --isas native,avx2,default [pytest arguments]

Tests marked `learning` write their figures and bounds into pytest's XML report (tests/learning.py). This runs them once for
each shift of their seeds and each instruction set, and prints, as a Markdown table, the figure that came nearest to its bound,
where that was, and how many trials there were. A failed trial is told, and ends the command with code 1. A new instruction set
goes into ISAS.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple
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


def run_trial(shift: int, isa: str, arguments: list[str]) -> tuple[dict[tuple[str, str], list[Seen]], list[str]]:
    """Run the learning tests once and return what `read` returns. Raises SystemExit where pytest could not run them."""
    environment = os.environ | ISAS[isa] | {"POP_SEED_SHIFT": str(shift)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "learning", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest ended with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return read(report, f"shift {shift}, {isa}")


def table(figures: dict[tuple[str, str], list[Seen]]) -> str:
    """Return the figures as a Markdown table, the one nearest to its bound for each name."""
    lines = ["| test | figure | bound | nearest | where | trials |", "|---|---|--:|--:|---|--:|"]
    for (test, name), seen in sorted(figures.items()):
        nearest = min(seen, key=lambda one: one.room)
        bound = f"{'>' if nearest.sign > 0 else '<'} {nearest.bound:g}"
        lines.append(f"| {test} | {name} | {bound} | {nearest.value:.4g} | {nearest.trial} | {len(seen)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shifts", default="0,1,2,3,4", help="what is added to every seed, comma-separated")
    parser.add_argument("--isas", default=",".join(ISAS), help=f"instruction sets, comma-separated: {', '.join(ISAS)}")
    options, arguments = parser.parse_known_args()
    figures, failed = defaultdict[tuple[str, str], list[Seen]](list), list[str]()
    for isa in options.isas.split(","):
        for shift in map(int, options.shifts.split(",")):
            found, missed = run_trial(shift, isa, arguments)
            failed += missed
            for key, seen in found.items():
                figures[key] += seen
    sys.stdout.write(table(figures) + "\n" + "".join(f"failed: {name}\n" for name in failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
