"""Small runs against the simulated model, for the tests of what a run directory promises."""

import random
import shutil
from pathlib import Path
from typing import Any

from pop_selfplay import run
from pop_selfplay.config import RunConfig, parse_config

WORDS = (
    "sun",
    "moon",
    "tree",
    "river",
    "stone",
    "wind",
    "leaf",
    "root",
    "seed",
    "bark",
    "moss",
    "fern",
    "dew",
    "frost",
    "rain",
)


def write_texts(folder: Path, count: int) -> Path:
    """Write `count` different texts of 80 words."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = random.Random(number)
        (folder / f"{number}.txt").write_text(" ".join(rng.choices(WORDS, k=80)), encoding="utf-8")
    return folder


def simulated_config(texts: Path, **synthesis: Any) -> RunConfig:
    """Return a run on `texts` that ends with pairs: faults on, nothing trained, nothing measured."""
    return parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": [str(texts)]},
            "model": {"type": "simulated", "malformed_rate": 0.15},
            "synthesis": {"documents": 12, "candidates": 6, "episodes_in_flight": 4, **synthesis},
            "training": {"type": "none"},
            "measure": {"type": "none"},
        }
    )


def finished_run(folder: Path, count: int) -> Path:
    """Play a run in `folder`, on twelve of `count` texts, and return its directory: for tests that each take a copy."""
    run(simulated_config(write_texts(folder / "texts", count)), folder / "run")
    return folder / "run"


def copy_run(run: Path, to: Path) -> Path:
    """Copy a run directory that nobody is working on to `to`, and return that."""
    shutil.copytree(run, to)
    return to


def small_run(folder: Path) -> Path:
    """Play a run of six documents in `folder` and return its directory; much is refused in it."""
    run(simulated_config(write_texts(folder / "texts", 8), documents=6), folder / "run")
    return folder / "run"
