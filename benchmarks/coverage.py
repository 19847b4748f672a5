"""How often do the product's 95 % intervals hold the truth? Over a grid of clustered shares, differences and means.

    python benchmarks/coverage.py [--draws 2000] [--json FILE]

Each cell draws samples of clusters, computes the interval of each with `stats/intervals.py`, and counts how many hold the true
mean. Shares are beta-binomial: within a cluster answers correlate by `correlation`. Differences are −1, 0 or 1 a pair, as of
right and wrong answers before and after, and means are of bounded values whose clusters differ. Sizes are 1 to 32 answers a
cluster, the same in each or mixed. `normal` is the cluster-robust normal interval, for comparison.

The table shows, by the number of clusters, the least coverage and the mean over the other dimensions. A cell of 2,000 draws has
a standard error of 0.5 points, so that the least of hundreds of cells lies about 1.5 points below what it is worth.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from pop_selfplay.stats.intervals import SHARES, SIGNED, Array, Limits, Range, mean_limits

CLUSTERS: Final = (5, 10, 20, 30, 100, 300, 1000)
SIZES: Final = (1, 4, 32, 0)
"""Answers of a cluster; 0 is a mixture of 1 to 32."""
CORRELATIONS: Final = (0.0, 0.1, 0.3, 0.6, 1.0)
CHANCES: Final = (0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
CHANGES: Final = ((0.01, 0.0), (0.03, 0.0), (0.03, 0.01), (0.03, 0.03), (0.1, 0.0), (0.1, 0.05), (0.3, 0.2), (0.0, 0.05))
"""Chances that a pair gets better, and that it gets worse."""
MEANS: Final = ((0.02, 2.0), (0.1, 2.0), (0.5, 2.0), (0.5, 20.0), (0.9, 5.0))
"""Means of a beta distribution of the clusters, and its a + b: the larger, the more alike they are."""
Draw = tuple[Array, Array, float]
"""Values and weights of shape (draws, clusters), and the true mean."""


def main() -> None:
    """Measure every cell, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="samples of each cell")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    found = {kind: measure(kind, options.draws, rng) for kind in ("shares", "differences", "means")}
    sys.stdout.write(markdown(found))
    if options.json:
        options.json.write_text(json.dumps({"draws": options.draws, **found}, indent=1) + "\n", encoding="utf-8")


def measure(kind: str, draws: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return for each number of clusters the coverage of ours and of the normal interval over all cells."""
    within = SIGNED if kind == "differences" else SHARES
    rows = []
    for clusters in CLUSTERS:
        cells = [covered(draw, within) for draw in samples(kind, draws, clusters, rng)]
        ours, normal, width = (np.array(column) for column in zip(*cells, strict=True))
        rows.append(
            {
                "clusters": clusters,
                "cells": len(cells),
                "least": round(float(ours.min()), 4),
                "mean": round(float(ours.mean()), 4),
                "below_93": int((ours < 0.93).sum()),
                "width_of_normal": round(float(np.median(width)), 3),
                "normal_least": round(float(normal.min()), 4),
                "normal_below_93": int((normal < 0.93).sum()),
            }
        )
    return rows


def samples(kind: str, draws: int, clusters: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Yield the samples of every cell of one kind."""
    if kind == "means":
        for mean, alike in MEANS:
            values: Array = rng.beta(alike * mean, alike * (1 - mean), size=(draws, clusters)).astype(np.float64)
            yield values, np.ones_like(values), mean
        return
    chances = [(chance, 0.0) for chance in CHANCES] if kind == "shares" else CHANGES
    for (up, down), size, correlation in itertools.product(chances, SIZES, CORRELATIONS):
        if size == 1 and correlation:
            continue  # one answer alone correlates with none
        sizes = rng.integers(1, 33, size=(draws, clusters)) if size == 0 else np.full((draws, clusters), size)
        changed = binomial(rng, sizes, up + down, correlation)
        better = binomial(rng, changed, up / (up + down), correlation)
        yield np.asarray((2 * better - changed) / sizes, dtype=np.float64), sizes.astype(np.float64), up - down


def binomial(rng: np.random.Generator, sizes: Any, chance: float, correlation: float) -> Any:
    """Return how many of `sizes` come true, with a chance that differs between clusters so that answers correlate."""
    if correlation == 0 or chance in (0.0, 1.0):
        return rng.binomial(sizes, chance)
    if correlation == 1:
        return sizes * rng.binomial(1, chance, size=sizes.shape)
    spread = (1 - correlation) / correlation
    return rng.binomial(sizes, rng.beta(chance * spread, (1 - chance) * spread, size=sizes.shape))


def covered(draw: Draw, within: Range) -> tuple[float, float, float]:
    """Return how often our interval and the normal one hold the truth, and the median ratio of their widths."""
    values, weights, truth = draw
    ours, usual = mean_limits(values, weights, within), normal(values, weights)
    wide = usual.high - usual.low > 1e-9
    ratio = float(np.median((ours.high - ours.low)[wide] / (usual.high - usual.low)[wide])) if wide.any() else 1.0
    return holds(ours, truth), holds(usual, truth), ratio


def holds(limits: Limits, truth: float) -> float:
    return float(((limits.low <= truth + 1e-12) & (truth <= limits.high + 1e-12)).mean())


def normal(values: Array, weights: Array) -> Limits:
    count, total = values.shape[-1], weights.sum(axis=-1)
    mean = (weights * values).sum(axis=-1) / total
    squares = (weights**2 * (values - mean[:, None]) ** 2).sum(axis=-1)
    half = 1.96 * np.sqrt(squares * count / (count - 1)) / total
    return Limits(mean, mean - half, mean + half)


def markdown(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return one row for each kind and number of clusters, as docs/evaluation.md shows them."""
    rows = [
        "| of | clusters | cells | least, % | mean, % | width over normal's | normal: least, % | normal: cells below 93 % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {kind} | {row['clusters']} | {row['cells']} | {100 * row['least']:.1f} | {100 * row['mean']:.1f} "
        f"| {row['width_of_normal']:.2f} | {100 * row['normal_least']:.1f} | {row['normal_below_93']} |"
        for kind, of in found.items()
        for row in of
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
