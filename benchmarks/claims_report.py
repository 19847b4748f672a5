"""From the runs of pocket_claims.py to their figures, and to docs/claims.md with its plots.

An accuracy or agreement is a ratio of sums over seeds and plants, with an interval that draws both anew. A diversity is a mean
over seeds with Student's interval. The results keep the sums of every seed and plant, so that other intervals can be had from
them. Effects on shares are given in points and as Cohen's h: 0.2 is a small effect, 0.5 a medium
one, 0.8 a large one.
"""

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from benchmarks.claims_page import write_page
from benchmarks.crossed_bootstrap import Ratio, bootstrap_crossed

from pop_selfplay.pocket.world import asked
from pop_selfplay.stats.intervals import Estimate
from pop_selfplay.text.overlap import distinct, near_duplicate_flags, similarities, vendi

Run = dict[str, Any]
Sums = Mapping[str, Sequence[float]]
"""Plant → [sum, count]."""

T95: Final = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 97.5 % points of Student's distribution with 0 to 10 degrees of freedom; beyond 10 the last one is used."""

NEAR: Final = 0.8
AGREEMENT: Final = ("spearman", "best_worst", "all_pairs", "trained_pair", "self_score", "true_score")
_NUMBERS: Final = re.compile(r"\[[-\d.,\s]+\]")


class Effect(NamedTuple):
    """A difference of shares, with the size of the effect (Cohen's h) and the value of every seed."""

    estimate: Estimate
    h: float
    seeds: list[float]

    def as_json(self) -> dict[str, Any]:
        return {**self.estimate.as_json(), "h": round(self.h, 3), "seeds": [round(value, 6) for value in self.seeds]}


def write_report(runs: Sequence[Run], bare: Sequence[Run], results: Path, docs: Path) -> None:
    """Compute all figures, and write them to `results` and into claims.md and its plots in `docs`."""
    arms = {arm: [run for run in runs if run["arm"] == arm] for arm in dict.fromkeys(run["arm"] for run in runs)}
    figures = {
        "seeds": [run["seed"] for run in arms["both"]],
        "gain": gains(arms),
        "agreement": agreements(arms),
        "diversity": diversities(arms["both"], arms["none"], bare),
    }
    kept = figures | {"sums": {arm: sums(mine) for arm, mine in arms.items()}}
    results.write_text(_NUMBERS.sub(_on_one_line, json.dumps(kept, indent=1)) + "\n", encoding="utf-8")
    write_page(figures, docs)


def _on_one_line(numbers: re.Match[str]) -> str:
    return " ".join(numbers[0].split())


def sums(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the sums from which every interval of an arm follows: measure → plants, and the two sides of its `Ratio`."""
    measured = {name: [run["agreement"].get(name, {}) for run in runs] for name in AGREEMENT}
    for group in runs[0]["exam"]:
        measured |= {f"{group} {when}": [run["exam"][group][when] for run in runs] for when in ("before", "after")}
    found = {}
    for name, each in measured.items():
        plants = sorted({plant for run in each for plant in run})
        above, below = (part.round(3).tolist() for part in ratio(each, plants))
        found[name] = {"plants": plants, "above": above, "below": below}
    return found


def gains(arms: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return the gain in exam accuracy of every arm, and how much more it is with both documents than in the other arms."""
    found: dict[str, Any] = {}
    for group in arms["both"][0]["exam"]:
        before = {arm: [run["exam"][group]["before"] for run in runs] for arm, runs in arms.items()}
        after = {arm: [run["exam"][group]["after"] for run in runs] for arm, runs in arms.items()}
        plants = sorted(before["both"][0])
        gained = {arm: difference(ratio(after[arm], plants), ratio(before[arm], plants)) for arm in arms}
        found[group] = {
            "before": bootstrap_crossed(ratio(before["both"], plants)).as_json(),
            "arms": {arm: effect.as_json() for arm, effect in gained.items()},
            "both minus": {
                arm: difference(ratio(after["both"], plants), ratio(after[arm], plants)).as_json()
                for arm in arms
                if arm != "both"
            },
        }
    return found


def agreements(arms: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return per arm how often the self-made scores agree with the truth, and best/worst minus all pairs."""
    found: dict[str, Any] = {}
    for arm, runs in arms.items():
        plants = sorted({plant for run in runs for sums in run["agreement"].values() for plant in sums})
        by_measure = {name: ratio([run["agreement"].get(name, {}) for run in runs], plants) for name in AGREEMENT}
        found[arm] = {name: level(one) for name, one in by_measure.items()}
        found[arm]["best_worst minus all_pairs"] = difference(by_measure["best_worst"], by_measure["all_pairs"]).as_json()
    return found


def ratio(runs: Sequence[Sums], plants: Sequence[str]) -> Ratio:
    """Return the sums of all runs as [seed, plant]; a plant that a run lacks counts nothing."""
    above = np.array([[run.get(plant, (0.0, 0.0))[0] for plant in plants] for run in runs], dtype=float)
    below = np.array([[run.get(plant, (0.0, 0.0))[1] for plant in plants] for run in runs], dtype=float)
    return Ratio(above, below)


def level(one: Ratio) -> dict[str, Any]:
    """Return a share, or another mean, over all seeds, and of each seed."""
    return {**bootstrap_crossed(one).as_json(), "seeds": [round(value, 6) for value in by_seed(one)]}


def difference(one: Ratio, other: Ratio) -> Effect:
    """Return one share minus another one."""
    shares = [float(part.above.sum() / part.below.sum()) for part in (one, other)]
    each = [a - b for a, b in zip(by_seed(one), by_seed(other), strict=True)]
    return Effect(bootstrap_crossed(one, other), cohens_h(*shares), each)


def by_seed(one: Ratio) -> list[float]:
    return [float(above.sum() / below.sum()) for above, below in zip(one.above, one.below, strict=True)]


def cohens_h(one: float, other: float) -> float:
    """Return the size of the difference of two shares, 2·asin √one − 2·asin √other (Cohen 1988)."""
    return 2 * math.asin(math.sqrt(one)) - 2 * math.asin(math.sqrt(other))


def diversities(both: Sequence[Run], none: Sequence[Run], bare: Sequence[Run]) -> dict[str, Any]:
    """Return per source of the problems how diverse they are, always for as many problems as the fewest that were made."""
    texts = {
        "document": [run["problems"] for run in both],
        "title alone": [run["problems"] for run in none],
        "nothing": [run["problems"] for run in bare],
    }
    many = min(len(one) for name in ("document", "title alone") for one in texts[name])
    few = min(len(one) for one in texts["nothing"])
    return {
        "all": _measured({name: texts[name] for name in ("document", "title alone")}, many),
        "as many as from nothing": _measured(texts, few),
    }


def _measured(texts: Mapping[str, Sequence[Sequence[str]]], count: int) -> dict[str, Any]:
    values = {name: [_measures(_drawn(one, count)) for one in seeds] for name, seeds in texts.items()}
    names = list(values["document"][0])
    found: dict[str, Any] = {"n": count}
    for source, seeds in values.items():
        found[source] = {name: over_seeds([seed[name] for seed in seeds]) for name in names}
        if source != "document":
            pairs = list(zip(values["document"], seeds, strict=True))
            found[source]["document minus"] = {name: over_seeds([a[name] - b[name] for a, b in pairs]) for name in names}
    return found


def _drawn(texts: Sequence[str], count: int) -> list[str]:
    """Return `count` of the texts, drawn by a fixed seed."""
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[int(place)] for place in order[:count]]


def _measures(texts: Sequence[str]) -> dict[str, float]:
    questions = [question for text in texts if (question := asked(text)) is not None]
    return {
        "plants": float(len({question.entity for question in questions})),
        "effective plants": _effective([question.entity for question in questions]),
        "different questions": float(len({(q.entity, frozenset(q.attributes)) for q in questions})),
        "vendi": vendi(similarities(texts)),
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "near_duplicates": statistics.fmean(near_duplicate_flags(texts, NEAR)) if texts else math.nan,
    }


def _effective(names: Sequence[str]) -> float:
    """Return exp of the entropy of the names: how many equally frequent ones would be as varied."""
    shares = np.array([names.count(name) for name in set(names)]) / max(1, len(names))
    return float(np.exp(-(shares * np.log(shares)).sum()))


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of one value for each seed with Student's 95 % interval."""
    mean = statistics.fmean(values)
    quantile = T95[min(len(values) - 1, len(T95) - 1)]
    half = quantile * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return {**Estimate(mean, mean - half, mean + half, len(values)).as_json(), "seeds": [round(value, 4) for value in values]}
