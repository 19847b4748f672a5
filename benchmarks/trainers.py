"""What trainers and learning rates gain from the same pairs, on the pocket world.

    python benchmarks/trainers.py [--seed 5] [--work DIR] [--json FILE]

One quickstart is played, and each row of `ROWS` is a fork of it: synthesis is taken over call by call, so all train on the very
same pairs. A further trainer or rate is one more row.
"""

import argparse
import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pop_selfplay as pop
from pop_selfplay.pocket.quickstart import quickstart_config

ROWS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("dpo", {"learning_rate": 1e-4}),
    ("sft", {"learning_rate": 3e-5}),
    ("sft", {"learning_rate": 1e-4}),
    ("sft", {"learning_rate": 3e-4}),
)
"""Trainer and what is set of its arguments; the first row is the quickstart."""


def main() -> None:
    """Train every row, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--work", type=Path, help="keep the runs in this directory, and go on with those in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with nullcontext(options.work) if options.work else tempfile.TemporaryDirectory() as folder:
        rows = [trained(options.seed, trainer, settings, Path(folder)) for trainer, settings in ROWS]
    sys.stdout.write(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def trained(seed: int, trainer: Any, settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train one row, or take its run up in `work`, and return what it gained, greedy."""
    paths = [
        work / "-".join([name, *map(str, changes.values()), str(seed)]) for name, changes in (ROWS[0], (trainer, settings))
    ]
    config = quickstart_config(seed=seed, training=trainer).model_dump(mode="json")
    config["training"][trainer] |= settings
    result = pop.run(pop.parse_config(config), paths[1], fork_from=None if paths[0] == paths[1] else paths[0])
    gains = {group: modes["greedy"].gain.model_dump() for group, modes in result.measure.items()}
    return {"trainer": trainer, **settings, "seed": seed, "pairs": result.rounds[0].pairs, "gain": gains}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as docs/training.md shows them."""
    lines = ["| trainer | learning rate | pairs | self-play plants | held-out plants |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        gains = [
            "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * row["gain"][group][end] for end in ("mean", "low", "high")))
            for group in ("self_play", "held_out")
        ]
        lines.append(f"| {row['trainer']} | {row['learning_rate']:g} | {row['pairs']} | {' | '.join(gains)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
