"""What rounds, frontier problems, a trained proposer and online RL bring on the pocket world, against exact truth.

    python benchmarks/pocket_study.py [--arms one,three] [--seeds 5,11,17] [--work runs/study]

Every arm and seed is a run directory that goes on where it was stopped, and what is read from it a small file beside: so a
second call only does the rest. An arm that changes only what happens to the scores is a fork, and pays for no call twice. The
figures are the last round's, so that no choice among rounds flatters them. Intervals draw seeds and plants anew
(`bootstrap_crossed`), because all seeds share the plants and the exam. The table goes into docs/rounds.md, the figures into
results/pocket_study.json.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from benchmarks.crossed_bootstrap import Ratio, bootstrap_crossed

import pop_selfplay as pop
from pop_selfplay.config import RunConfig, parse_config
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.notes import EXAM
from pop_selfplay.pairing import spread_of
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.runs.session import Session, watch_session
from pop_selfplay.stats.intervals import Estimate

RESULTS: Final = Path(__file__).parent / "results" / "pocket_study.json"
PAGE: Final = Path(__file__).parents[1] / "docs" / "rounds.md"
SEEDS: Final = "5,11,17"
GROUPS: Final = ("self_play greedy", "held_out greedy", "self_play sampled", "held_out sampled")
_LAST: Final = {"training": {"keep_best": False}}
"""Two dozen held-out pairs are too few to choose a checkpoint by, so every DPO arm ends with its last weights."""

_SPLIT: Final = {"rounds": 3, "synthesis": {"documents": 200}}
_TWICE: Final = {"rounds": 3, "synthesis": {"documents": 100, "problems_per_document": 2}}

_ONLINE: Final = {
    "synthesis": {"candidates": 2},
    "training": {"type": "grpo", "batch_size": 48, "grpo": {"num_generations": 6}},
}
"""As many answers to each problem as in DPO's round, 8: so many tokens are generated in both."""


class Arm(NamedTuple):
    """One way to spend the calls: changes to the quickstart's config, the arm it is held against, whose calls it may take."""

    label: str
    changes: dict[str, Any]
    against: str | None = None
    fork_of: str | None = None


ARMS: Final = {
    "one": Arm("one round of 600 documents", {}),
    "three": Arm("three rounds of 200", _SPLIT, "one"),
    "frontier": Arm("one round, frontier problems", {"pairing": {"frontier": {}}}, "one", "one"),
    "frontier_longer": Arm(
        "the same for 4 epochs instead of 3",
        {"pairing": {"frontier": {}}, "training": {"dpo": {"num_train_epochs": 4}}},
        "one",
        "one",
    ),
    "twice": Arm("three rounds of 100, two problems each", _TWICE),
    "proposer": Arm("the same, and the proposer is trained", {**_TWICE, "pairing": {"proposer": {}}}, "twice", "twice"),
    "grpo": Arm("GRPO: 2 answers to write the rubric, 6 online", _ONLINE, "one"),
}


def rounds(arguments: list[str]) -> None:
    """Play what is missing of the arms and seeds asked for, then write the results and the table of all that is complete."""
    parser = argparse.ArgumentParser(prog="pocket_study.py", description=__doc__)
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated")
    parser.add_argument("--seeds", default=SEEDS, help="comma-separated")
    parser.add_argument("--work", type=Path, default=Path("runs/study"), help="where the runs lie; kept, for resuming")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the results")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    options = parser.parse_args(arguments)
    seeds, arms = [int(seed) for seed in options.seeds.split(",")], options.arms.split(",")
    runs = {arm: [one_run(arm, seed, options.work) for seed in seeds] for arm in arms}
    figures = {arm: summary(arm, runs) for arm in arms}
    write_atomically(options.json, json.dumps({"seeds": seeds, "arms": figures}, indent=1) + "\n")
    text = options.page.read_text(encoding="utf-8")
    before, rest = text.split("<!-- study -->")
    after = rest.split("<!-- /study -->")[1]
    write_atomically(options.page, f"{before}<!-- study -->\n{table(figures, seeds)}<!-- /study -->{after}")


def config_of(arm: str, seed: int) -> RunConfig:
    """Return the quickstart's config with the changes of the arm."""
    changes = ARMS[arm].changes
    if arm == "grpo":
        return parse_config(_merged(quickstart_config(seed=seed, training="grpo").model_dump(mode="json"), changes), arm)
    return parse_config(_merged(_merged(quickstart_config(seed=seed).model_dump(mode="json"), _LAST), changes), arm)


def one_run(arm: str, seed: int, work: Path) -> dict[str, Any]:
    """Play one run, or what is left of it, and return what the study needs of it."""
    kept, directory = work / f"{arm}-{seed}.json", work / f"{arm}-{seed}"
    if not kept.is_file():
        source = work / f"{ARMS[arm].fork_of}-{seed}"
        result = pop.run(config_of(arm, seed), directory, fork_from=source if source.is_dir() else None)
        with watch_session(directory) as session:
            write_atomically(kept, json.dumps(gathered(session, result.model_dump(mode="json")), separators=(",", ":")) + "\n")
        sys.stdout.write(f"{kept.stem}: done\n")
        sys.stdout.flush()
    run: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return run


def gathered(session: Session, result: dict[str, Any]) -> dict[str, Any]:
    """Return the exam by plant before and after every round, and what each round cost and made."""
    numbers = range(1, session.config.rounds + 1)
    return {
        "exam": [_exam(session, number) for number in (0, *numbers)],
        "rounds": [
            {
                "pairs": round_["pairs"],
                "proposer_pairs": round_["proposer"]["pairs"] if round_["proposer"] else 0,
                "dropped": round_["dropped"],
                "steps": round_["training"]["steps"],
                "generated": round_["tokens"]["generated"] + round_["training"].get("generated_tokens", 0),
                "seconds": round_["seconds"],
                "spread": statistics.fmean(spread_of(e.evaluations) for e in session.journal.episodes(number) if not e.failure),
                "figures": {k: v for decision in round_["decisions"] for k, v in decision["figures"].items()},
            }
            for number, round_ in zip(numbers, result["rounds"], strict=True)
        ],
    }


def _exam(session: Session, number: int) -> dict[str, dict[str, list[int]]]:
    """Return group and mode → plant → [facts known, facts asked] of the model that came out of a round."""
    found: dict[str, dict[str, list[int]]] = {}
    for group, modes in (EXAM.read(session.journal, number) or {}).items():
        for mode, facts in modes.items():
            sums = found.setdefault(f"{group} {mode}", {})
            for plant, outcome in facts:
                known, asked = sums.get(plant, [0, 0])
                sums[plant] = [known + (outcome == "known"), asked + 1]
    return found


def summary(arm: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of an arm over its seeds: gains by group, the difference to the arm it is held against, and costs."""
    own, against = runs[arm], ARMS[arm].against
    other = runs.get(against or "")
    last = len(own[0]["rounds"])
    counts = ("pairs", "proposer_pairs", "steps", "generated", "spread")
    return {
        "label": ARMS[arm].label,
        "gain": {group: _points(bootstrap_crossed(_ratio(own, last, group), _ratio(own, 0, group))) for group in GROUPS},
        "by_round": [
            {group: _points(bootstrap_crossed(_ratio(own, n, group), _ratio(own, 0, group))) for group in GROUPS}
            for n in range(1, last + 1)
        ],
        "against": against,
        "difference": None
        if other is None
        else {
            group: _points(bootstrap_crossed(_ratio(own, last, group), _ratio(other, len(other[0]["rounds"]), group)))
            for group in GROUPS
        },
        "rounds": [
            {
                **{name: round(statistics.fmean(run["rounds"][n][name] for run in own), 4) for name in counts},
                "diversity": [run["rounds"][n]["figures"].get("diversity") for run in own],
                "agreement": [run["rounds"][n]["figures"].get("agreement", {}).get("mean") for run in own],
                "dropped": [run["rounds"][n]["dropped"] for run in own],
            }
            for n in range(last)
        ],
        "seconds": [round(sum(sum(r["seconds"].values()) for r in run["rounds"])) for run in own],
    }


def _ratio(runs: list[dict[str, Any]], number: int, group: str) -> Ratio:
    """Return facts known of facts asked, by seed and plant, after round `number`."""
    plants = sorted(runs[0]["exam"][0][group])
    sums = np.array([[run["exam"][number][group][plant] for plant in plants] for run in runs], dtype=np.float64)
    return Ratio(sums[:, :, 0], sums[:, :, 1])


def _points(estimate: Estimate) -> dict[str, float | int | None]:
    return Estimate(100 * estimate.mean, 100 * estimate.low, 100 * estimate.high, estimate.n).as_json()


def table(figures: dict[str, Any], seeds: list[int]) -> str:
    """Return the tables of docs/rounds.md: gains in points, means over seeds with 95 % intervals, and how rounds went."""
    rows = [_arm_row(arm, figure) for arm, figure in figures.items()]
    by_round = [row for arm, figure in figures.items() if len(figure["rounds"]) > 1 for row in _round_rows(arm, figure)]
    return (
        f"Gains over the starting model in points, means over seeds {', '.join(map(str, seeds))} with 95 % intervals:\n\n"
        + _markdown(
            *(
                "arm",
                "generated tokens",
                "pairs",
                "steps",
                *(group.replace("_", "-").replace(" ", ", ") for group in GROUPS),
                "difference",
            ),
            rows=rows,
        )
        + "\n`difference`: self-play, greedy, against the arm it names. Round by round, means over the same seeds:\n\n"
        + _markdown(
            *("arm", "round", "self-play, greedy", "pairs", "pairs of problems", "spread of scores", "diversity", "agreement"),
            rows=by_round,
        )
    )


def _arm_row(arm: str, figure: dict[str, Any]) -> list[str]:
    summed = ("generated", "pairs", "proposer_pairs", "steps")
    total = {name: sum(round_[name] for round_ in figure["rounds"]) for name in summed}
    pairs = f"{total['pairs']:.0f}" + (f" + {total['proposer_pairs']:.0f}" if total["proposer_pairs"] else "")
    pairs = "not used" if arm == "grpo" else pairs
    difference = figure["difference"]
    against = "" if difference is None else f"`{figure['against']}` {_shown(difference['self_play greedy'])}"
    gains = [_shown(figure["gain"][group]) for group in GROUPS]
    return [f"`{arm}`: {figure['label']}", f"{total['generated'] / 1000:.0f}k", pairs, f"{total['steps']:.0f}", *gains, against]


def _round_rows(arm: str, figure: dict[str, Any]) -> list[list[str]]:
    return [
        [
            *(f"`{arm}`", str(number), _shown(gains["self_play greedy"])),
            *(f"{round_['pairs']:.0f}", f"{round_['proposer_pairs']:.0f}", f"{round_['spread']:.3f}"),
            *(f"{statistics.fmean(round_[name]):.3f}" for name in ("diversity", "agreement")),
        ]
        for number, (round_, gains) in enumerate(zip(figure["rounds"], figure["by_round"], strict=True), start=1)
    ]


def _markdown(*columns: str, rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [list(columns), ["---"] * len(columns), *rows])


def _shown(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:+.1f} [{estimate['low']:+.1f}, {estimate['high']:+.1f}]"


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged
