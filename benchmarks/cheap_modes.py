"""What cheaper ways to make pairs cost, and what they cost in quality.

    python benchmarks/cheap_modes.py [--seeds 5,11,17] [--modes NAME ...] [--work DIR] [--json FILE]
    python benchmarks/cheap_modes.py --simulated [--documents 128] [--json FILE]

Every mode plays the pocket world's whole loop: synthesis on 600 documents, pairs, DPO as in `pop quickstart`, the exam before
and after. `full`, the paper's method, is what the others are compared with: 32 candidates, all solved, each judged on every
criterion with the judge's note and a tagged evaluation. All modes of a seed see the same documents, problems and first
candidates: runs are forks of the full one, and a call that is the very same is not made twice, but counted in each. Two modes
have twice the documents, the same 600 among them. For each mode, over the seeds:

- generated tokens per kept pair, by role, refused calls and dropped problems counted; and their ratio to `full`
- how often the chosen answer is truly better than the rejected one (ties half), its difference from that of `full`, and by how
  much better, from 0 to 2
- the gain in closed-book accuracy on the self-play plants after training, and its difference from that of `full`, fact by fact;
  all with 95 % intervals clustered by plant over all seeds

`--simulated` plays synthesis alone with the shipped simulated model at realistic lengths (answers of about 340 words,
evaluations of about 130), where tokens are shared out as with a 7B model, and the full method is `pointwise`; truth is the
hidden quality of its answers.

With `--work` the run directories are kept there, and a second call goes on where the first one stopped. FILE keeps the rows
that are not measured anew, and their comparison with the full runs of their time.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pop_selfplay as pop
from pop_selfplay.journal.notes import EXAM
from pop_selfplay.method.parsing import Rejection, parse_answer
from pop_selfplay.models.simulated.prose import prose, quality
from pop_selfplay.pairing import pairs_of
from pop_selfplay.pocket.quickstart import PLANTS, quickstart_config
from pop_selfplay.pocket.world import ATTRIBUTES, World, asked, grade
from pop_selfplay.records import PreferencePair, Role
from pop_selfplay.runs.session import open_session, watch_session
from pop_selfplay.selfplay import play_synthesis
from pop_selfplay.stats.intervals import (
    SHARES,
    SIGNED,
    Estimate,
    Totals,
    bootstrap_totals,
    clustered_mean,
    paired_difference,
    totals_by_cluster,
)

Figures = dict[str, Any]
TrueGap = Callable[[PreferencePair], tuple[str, float] | None]
"""What to cluster a pair by, and how much better its chosen answer truly is; None where that cannot be told."""

FULL: Final = "full"
BY_TWO: Final = "logprob, share_identical, early_stop by 2"
GAIN: Final = "gain self_play greedy"
COMPARED: Final = (("agreement less that of full", 2), (GAIN, 1), (f"{GAIN} less that of full", 1))
RESAMPLING: Final = 0  # the seed of the bootstrap


def early_stop(at_a_time: int, gap: float) -> Figures:
    return {"early_stop": {"first_share": at_a_time / 32, "gap": gap}}


def by_two(gap: float) -> Figures:
    return {"scoring": "logprob", "share_identical": True, **early_stop(2, gap)}


MODES: Final[dict[str, Figures]] = {
    FULL: {"candidates": 32, "share_identical": False, "early_stop": None},
    f"{FULL}, 1200 documents": {"documents": 1200},
    "share_identical": {"share_identical": True},
    "logprob": {"scoring": "logprob"},
    "8 candidates": {"candidates": 8},
    "4 candidates": {"candidates": 4},
    "early_stop by 4, gap 1": early_stop(4, 1.0),
    "early_stop by 4, gap 1, 1200 documents": {"documents": 1200, **early_stop(4, 1.0)},
    "early_stop by 4, gap 1.5": early_stop(4, 1.5),
    "logprob, early_stop by 4, gap 1": {"scoring": "logprob", **early_stop(4, 1.0)},
    "logprob, early_stop by 4, gap 1.5": {"scoring": "logprob", **early_stop(4, 1.5)},
    f"{BY_TWO}, gap 1.3": by_two(1.3),
    f"{BY_TWO}, gap 1.3, 1200 documents": {"documents": 1200, **by_two(1.3)},
    f"{BY_TWO}, gap 1.9": by_two(1.9),
    "per_criterion": {"scoring": "per_criterion"},
    "anchor": {"scoring": "anchor"},
    "pairwise, 8 candidates": {"scoring": "pairwise", "candidates": 8},
    "3 votes": {"votes": 3, "judge": {"temperature": 0.7}},
    "json_schema": {"json_schema": True},
}
IN_POCKET: Final = (
    *(
        FULL,
        f"{FULL}, 1200 documents",
        "share_identical",
        "8 candidates",
        "early_stop by 4, gap 1",
        "early_stop by 4, gap 1, 1200 documents",
    ),
    *(f"{BY_TWO}, gap 1.3", f"{BY_TWO}, gap 1.3, 1200 documents", f"{BY_TWO}, gap 1.9"),
)
"""The full method is per_criterion there already; its model knows no comparisons and no schemas."""
IN_SIMULATION: Final = tuple(mode for mode, synthesis in MODES.items() if "documents" not in synthesis)


def main() -> None:
    """Measure one part, print it, and put it into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="5,11,17", help="comma-separated")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="only these, and the full method")
    parser.add_argument("--simulated", action="store_true", help="play the simulated model instead of the pocket world")
    parser.add_argument("--documents", type=int, default=128, help="of the simulated part")
    parser.add_argument("--work", type=Path, help="keep the runs in this directory, and go on with those in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    modes = list(dict.fromkeys([FULL, *(options.modes or (IN_SIMULATION if options.simulated else IN_POCKET))]))
    with nullcontext(options.work) if options.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.simulated:
            part, runs = "simulated", [simulated_run(mode, work, options.documents) for mode in modes]
        else:
            seeds = [int(seed) for seed in options.seeds.split(",")]
            part, runs = "pocket", [pocket_run(seed, mode, work) for seed in seeds for mode in modes]
    known = json.loads(options.json.read_text(encoding="utf-8")) if options.json and options.json.exists() else {}
    rows = known.get(part, {}) | table(runs)
    known[part] = {mode: rows[mode] for mode in MODES if mode in rows}
    sys.stdout.write(markdown(known[part]))
    if options.json:
        options.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


# --- the pocket world -------------------------------------------------------------------------------------------------


def pocket_run(seed: int, mode: str, work: Path) -> Figures:
    """Play one mode, or take it up in `work`, and return its figures. The very pairs of `full` are not trained on again."""
    quick = quickstart_config(seed=seed)
    synthesis = {**quick.synthesis.model_dump(), "scoring": "per_criterion", **MODES[FULL], **MODES[mode]}
    training = {**quick.training.model_dump(), "keep_best": False}  # two dozen held-out pairs would choose by chance
    corpus = {"type": "pocket", "editions": synthesis["documents"] // PLANTS}
    config = pop.parse_config(quick.model_dump() | {"corpus": corpus, "synthesis": synthesis, "training": training})
    out, full = run_path(work, seed, mode), run_path(work, seed, FULL)
    fork_from = None if mode == FULL else full
    with open_session(out, config, fork_from=fork_from) as session:
        play_synthesis(session)
        figures = figures_of(session, true_gap_in(World()))
        pairs = list(pairs_of(session.journal, session.domain, session.config, 1))
    trained = out
    if fork_from is not None and pairs == pairs_at(full):
        trained = full
    else:
        pop.run(config, out, fork_from=fork_from)
    with watch_session(trained) as session:
        before, after = (EXAM.read(session.journal, n) or {} for n in (0, 1))
    figures |= {"seed": seed, "mode": mode, "trained": trained == out, "before": before, "after": after}
    say(figures, f"seed {seed}, {mode}")
    return figures


def run_path(work: Path, seed: int, mode: str) -> Path:
    return work / str(seed) / mode.replace(", ", "_").replace(" ", "-")


def pairs_at(path: Path) -> list[PreferencePair]:
    with watch_session(path) as session:
        return list(pairs_of(session.journal, session.domain, session.config, 1))


def true_gap_in(world: World) -> TrueGap:
    def true_gap(pair: PreferencePair) -> tuple[str, float] | None:
        question = asked(pair.prompt[-1].content)
        if question is None or question.entity not in world.truth:
            return None

        def score(completion: str) -> float:
            verdicts = grade(world, question.entity, question.attributes, answer_in(completion))
            weights = {attribute: ATTRIBUTES[attribute].weight for attribute in question.attributes}
            return sum(weights[a] * verdicts[a].rating for a in weights) / sum(weights.values())

        return question.entity, score(pair.chosen[-1].content) - score(pair.rejected[-1].content)

    return true_gap


# --- the simulated model ----------------------------------------------------------------------------------------------


def simulated_run(mode: str, work: Path, documents: int) -> Figures:
    """Play synthesis in one mode at realistic lengths and return its figures."""
    texts = work / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        (texts / f"{number}.txt").write_text(prose(random.Random(number), 400), encoding="utf-8")
    config = pop.parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": [str(texts)]},
            "model": {"type": "simulated", "lengths": "realistic"},
            "filter": {"near_duplicates": None},
            "synthesis": {"documents": documents, **MODES[FULL], **MODES[mode]},
            "training": {"type": "none"},
            "measure": {"type": "none"},
        }
    )
    with open_session(run_path(work, 0, mode), config) as session:
        play_synthesis(session)
        figures = figures_of(session, hidden_gap) | {"seed": 0, "mode": mode}
    say(figures, mode)
    return figures


def hidden_gap(pair: PreferencePair) -> tuple[str, float]:
    return pair.problem_id, quality(answer_in(pair.chosen[-1].content)) - quality(answer_in(pair.rejected[-1].content))


# --- figures ----------------------------------------------------------------------------------------------------------


def answer_in(completion: str) -> str:
    answer = parse_answer(completion)
    return "" if isinstance(answer, Rejection) else answer.value


def figures_of(session: Any, true_gap: TrueGap) -> Figures:
    """Return what one run wrote, kept and got right."""
    pairs = list(pairs_of(session.journal, session.domain, session.config, 1))
    known = [found for pair in pairs if (found := true_gap(pair)) is not None]
    episodes = [episode for episode in session.journal.episodes(1) if not episode.failure]
    return {
        "pairs": len(pairs),
        "tokens": {role.value: session.journal.tally.tokens[1, role.value, "generated"] for role in Role},
        "candidates_per_problem": statistics.fmean(len(episode.candidates) for episode in episodes),
        "clusters": [cluster for cluster, _ in known],
        "gaps": [gap for _, gap in known],
    }


def say(run: Figures, name: str) -> None:
    per_pair = sum(run["tokens"].values()) / run["pairs"]
    right = statistics.fmean(map(agrees, run["gaps"]))
    line = f"{name}: {per_pair:.0f} tokens per pair, {run['pairs']} pairs, agreement {right:.3f}"
    if "after" in run:
        gain = paired_difference(known_facts(run["before"]), known_facts(run["after"]), plants(run["after"]))
        line += f", gain {100 * gain.mean:+.1f}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def agrees(gap: float) -> float:
    return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0


def known_facts(exam: Figures, group: str = "self_play", kind: str = "greedy") -> list[float]:
    return [float(outcome == "known") for _, outcome in exam[group][kind]]


def plants(exam: Figures, group: str = "self_play", kind: str = "greedy") -> list[str]:
    return [plant for plant, _ in exam[group][kind]]


def table(runs: Sequence[Figures]) -> Figures:
    """Return mode → figures over its seeds."""
    by_mode: dict[str, list[Figures]] = {}
    for run in runs:
        by_mode.setdefault(run["mode"], []).append(run)
    return {mode: summary(mine, by_mode[FULL]) for mode, mine in by_mode.items()}


def markdown(modes: Figures) -> str:
    """Return one row per mode, as docs/scoring.md shows them."""
    trained = GAIN in modes[FULL]
    columns = ["mode", "seeds", "solved", "pairs", "tokens per pair", "of full", "true gap", "right order, %"]
    columns += ["difference", "gain, points", "difference"] if trained else []
    rows = [columns, ["---"] * len(columns)]
    for name, of in modes.items():
        rows.append(
            [
                name,
                str(len(of["seeds"])),
                f"{of['candidates_per_problem']:.1f}",
                f"{statistics.fmean(of['pairs']):.0f}",
                f"{of['tokens_per_pair']:,.0f}",
                f"{of['of_full']:.3f}",
                interval(of["true_gap"], 1, digits=2),
                interval(of["agreement"], 100),
                *(interval(of[compared], 100, "+", digits) for compared, digits in COMPARED if trained),
            ]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def interval(figure: Figures, scale: float, sign: str = "", digits: int = 1) -> str:
    mean, low, high = (f"{scale * figure[part]:{sign}.{digits}f}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def summary(runs: Sequence[Figures], full: Sequence[Figures]) -> Figures:
    """Return the figures of one mode over its seeds, beside the full method's of the same seeds."""
    full = [next(run for run in full if run["seed"] == mine["seed"]) for mine in runs]
    gaps = [gap for run in runs for gap in run["gaps"]]
    clusters = [cluster for run in runs for cluster in run["clusters"]]
    right = [agrees(gap) for gap in gaps]
    found: Figures = {
        "seeds": [run["seed"] for run in runs],
        "pairs": [run["pairs"] for run in runs],
        "candidates_per_problem": round(statistics.fmean(run["candidates_per_problem"] for run in runs), 2),
        "tokens_per_pair": round(per_pair(runs), 1),
        "tokens_per_pair_by_role": {role.value: round(per_pair(runs, role), 1) for role in Role},
        "of_full": round(per_pair(runs) / per_pair(full), 4),
        "agreement": clustered_mean(right, clusters, SHARES).as_json(),
        "agreement less that of full": agreement_difference(runs, full).as_json(),
        "truly_worse": round(statistics.fmean(gap < 0 for gap in gaps), 4),
        "true_gap": clustered_mean(gaps, clusters, (-2, 2)).as_json(),
    }
    if "after" not in runs[0]:
        return found
    same = all(run["mode"] == FULL or not run["trained"] for run in runs)  # one and the same model differs by nothing
    for group in ("self_play", "held_out"):
        for kind in ("greedy", "sampled"):
            who = [plant for run in runs for plant in plants(run["after"], group, kind)]
            before, after, other = (
                [fact for run in which for fact in known_facts(run[when], group, kind)]
                for which, when in ((runs, "before"), (runs, "after"), (full, "after"))
            )
            found[f"gain {group} {kind}"] = paired_difference(before, after, who, SIGNED).as_json()
            less = Estimate(0.0, 0.0, 0.0, len(who)) if same else paired_difference(other, after, who, SIGNED)
            found[f"gain {group} {kind} less that of full"] = less.as_json()
    found[f"{GAIN} by seed"] = [
        round(paired_difference(known_facts(run["before"]), known_facts(run["after"]), plants(run["after"])).mean, 4)
        for run in runs
    ]
    return found


def agreement_difference(runs: Sequence[Figures], full: Sequence[Figures]) -> Estimate:
    """Return how much more often the pairs of `runs` than those of `full` are in the right order.

    No pair of one has its like in the other, but both are about the same plants: plants are resampled, with all their pairs.
    """
    every = [
        (cluster, ((1 - side) * agrees(gap), 1 - side, side * agrees(gap), side))
        for side, which in enumerate((full, runs))
        for run in which
        for cluster, gap in zip(run["clusters"], run["gaps"], strict=True)
    ]

    def difference(sums: Totals) -> Any:
        return sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]

    clusters, parts = zip(*every, strict=True)
    return bootstrap_totals(difference, totals_by_cluster(parts, clusters), len(every), seed=RESAMPLING)


def per_pair(runs: Sequence[Figures], role: Role | None = None) -> float:
    """Generated tokens per kept pair over all runs, of one role or of all."""
    tokens = sum(sum(count for who, count in run["tokens"].items() if role in (None, who)) for run in runs)
    return float(tokens / sum(run["pairs"] for run in runs))


if __name__ == "__main__":
    main()
