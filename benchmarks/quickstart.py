"""What the quickstart gains, over seeds, with and without documents.

    python benchmarks/quickstart.py [--seeds 5,11,17] [--work DIR] [--json FILE]

The interval of a mean gain is the mean of the runs' own 95 % intervals, which are clustered by plant. The seeds share plants
and exam questions, so averaging over them does not shrink it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pop_selfplay as pop
from pop_selfplay.pocket.quickstart import quickstart_config


def main() -> None:
    """Play every run and print one line each, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="5,11,17", help="comma-separated")
    parser.add_argument("--work", type=Path, help="keep the runs in this directory, and go on with those in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    with nullcontext(options.work) if options.work else tempfile.TemporaryDirectory() as work:
        runs = [one_run(seed, document, Path(work)) for document in (True, False) for seed in seeds]
    report = {"runs": runs, "mean": {kind: means([r for r in runs if r["document"] is kind_]) for kind, kind_ in KINDS.items()}}
    sys.stdout.write(json.dumps(report["mean"], indent=1) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


KINDS = {"with documents": True, "without documents": False}


def one_run(seed: int, document: bool, work: Path) -> dict[str, Any]:
    """Play one quickstart, or what is left of it, and return its figures."""
    began = time.monotonic()
    out = work / f"{seed}-{'with' if document else 'without'}-documents"
    result = pop.run(quickstart_config(seed=seed, document=document), out)
    round_ = result.rounds[0]
    figures: dict[str, Any] = {
        "seed": seed,
        "document": document,
        "pairs": round_.pairs,
        "seconds": round_.seconds.model_dump() | {"all": round(time.monotonic() - began, 1)},
        "measure": {
            f"{group} {mode}": change.model_dump(include={"before", "after", "gain"})
            for group, modes in result.measure.items()
            for mode, change in modes.items()
        },
    }
    gains = ", ".join(f"{name} {100 * m['gain']['mean']:+.1f}" for name, m in figures["measure"].items())
    sys.stdout.write(f"seed {seed}, document {document}: {gains}; {figures['seconds']['all']} s\n")
    sys.stdout.flush()
    return figures


def means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean gain over seeds in points, with the mean of the 95 % intervals and the gain of each seed."""
    return {
        name: {
            "mean": round(statistics.fmean(gains), 2),
            "low": round(statistics.fmean(100 * r["measure"][name]["gain"]["low"] for r in runs), 2),
            "high": round(statistics.fmean(100 * r["measure"][name]["gain"]["high"] for r in runs), 2),
            "seeds": [round(gain, 2) for gain in gains],
        }
        for name in runs[0]["measure"]
        for gains in [[100 * r["measure"][name]["gain"]["mean"] for r in runs]]
    }


if __name__ == "__main__":
    main()
