"""What cheaper ways to make pairs cost, and what they cost in quality.

    python benchmarks/cheap_modes.py [--seeds 5,11,17] [--modes NAME,NAME] [--work DIR] [--json FILE]

Every mode plays the pocket world's whole loop: synthesis on 600 documents, pairs, DPO as in `pop quickstart`, the exam before
and after. The full method (the paper's) is the yardstick: 32 candidates, all solved, each judged on each criterion with the
judge's note and a tagged evaluation. All modes of a seed see the same documents, problems and first candidates: runs are forks
of the full one, and a call that is the very same is not made twice, but counted in each.

For each mode, over the seeds:

- generated tokens per kept pair, by role; refused calls count, too
- pairs kept
- how often the chosen answer is truly better than the rejected one (ties half), and by how much, against the world's truth
- the gain in closed-book accuracy after training, and its difference from the full method's, fact by fact, with 95 % intervals
  clustered by plant

The second part, `--simulated`, plays synthesis alone with the shipped simulated model at realistic lengths (answers of about 340
words, evaluations of about 130), where tokens are shared out as with a 7B model; truth is the hidden quality of its answers.

With `--work` the run directories are kept there, and a second call goes on where the first one stopped.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pop_selfplay as pop
from pop_selfplay.config import RunConfig
from pop_selfplay.core.parsing import Parsed, parse_answer
from pop_selfplay.core.stats import clustered_mean, paired_difference
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.pocket.wording import ATTRIBUTES
from pop_selfplay.pocket.world import World, asked, grade
from pop_selfplay.records import PreferencePair, Role
from pop_selfplay.selfplay import pairs_of
from pop_selfplay.session import watch_session

FULL: Final = "full"
PAPER: Final = {"candidates": 32, "scoring": "per_criterion", "share_identical": False, "early_stop": None}
MODES: Final[dict[str, dict[str, Any]]] = {
    FULL: {},
    "logprob": {"scoring": "logprob"},
    "share_identical": {"share_identical": True},
    "8 candidates": {"candidates": 8},
    "4 candidates": {"candidates": 4},
    "early stop by 8, gap 1": {"early_stop": {"first_share": 0.25, "gap": 1.0}},
    "early stop by 4, gap 1": {"early_stop": {"first_share": 0.125, "gap": 1.0}},
    "early stop by 4, gap 1.5": {"early_stop": {"first_share": 0.125, "gap": 1.5}},
    "logprob, early stop by 4, gap 1": {"scoring": "logprob", "early_stop": {"first_share": 0.125, "gap": 1.0}},
    "logprob, early stop by 4, gap 1.5": {"scoring": "logprob", "early_stop": {"first_share": 0.125, "gap": 1.5}},
}
Figures = dict[str, Any]


def main() -> None:
    """Play every mode with every seed, print a line each, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="5,11,17", help="comma-separated")
    parser.add_argument("--modes", default=",".join(MODES).replace(", ", ";"), help="comma-separated; ; stands for a comma")
    parser.add_argument("--work", type=Path, help="keep the runs in this directory, and go on with those in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    modes = [name.replace(";", ", ") for name in options.modes.split(",")]
    with directory(options.work) as work:
        runs = [pocket_run(seed, mode, work) for seed in seeds for mode in modes]
    sys.stdout.write(json.dumps(runs, indent=1))


@contextmanager
def directory(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


# --- the pocket world -------------------------------------------------------------------------------------------------


def pocket_config(seed: int, mode: str) -> RunConfig:
    quick = quickstart_config(seed=seed)
    synthesis = quick.synthesis.model_dump() | PAPER | MODES[mode]
    return pop.parse_config(quick.model_dump() | {"synthesis": synthesis})


def pocket_run(seed: int, mode: str, work: Path) -> Figures:
    """Play one mode, or take it up in `work`, and return its figures."""
    out, full = work / f"{seed}" / mode.replace(" ", "_"), work / f"{seed}" / FULL
    result = pop.run(pocket_config(seed, mode), out, fork_from=None if mode == FULL else full)
    with watch_session(out) as session:
        pairs = list(pairs_of(session, 1))
        tokens = {role.value: session.journal.tally.tokens[1, role.value, "generated"] for role in Role}
        noted = session.journal.noted("measure/1")
    figures = {
        "seed": seed,
        "mode": mode,
        "pairs": len(pairs),
        "tokens": tokens,
        "tokens_per_pair": {role: round(count / len(pairs), 2) for role, count in tokens.items()},
        "dropped": result["rounds"][0]["dropped"],
        **truth_of(pairs),
        "measure": {
            f"{group} {kind}": {part: figure[part] for part in ("before", "after", "gain")}
            for group, kinds in result["measure"].items()
            for kind, figure in kinds.items()
        },
        "_facts": json.loads(noted or "{}"),
    }
    gain = figures["measure"]["self_play greedy"]["gain"]["mean"]
    per_pair = sum(figures["tokens_per_pair"].values())
    sys.stdout.write(
        f"seed {seed}, {mode}: {per_pair:.0f} tokens per pair, {len(pairs)} pairs, "
        f"agreement {figures['agreement']['mean']:.3f}, gap {figures['gap']['mean']:.2f}, gain {100 * gain:+.1f}\n"
    )
    sys.stdout.flush()
    return figures


def truth_of(pairs: list[PreferencePair]) -> Figures:
    """Return how often the chosen answer is truly the better one, ties half, and by how much on the scale from 0 to 2."""
    world, agreement, ties, gaps, plants = World(), [], [], [], []
    for pair in pairs:
        question = asked(pair.prompt[-1].content)
        if question is None or question.entity not in world.truth:
            continue
        gap = true_score(world, question, pair.chosen[-1].content) - true_score(world, question, pair.rejected[-1].content)
        agreement.append(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0)
        ties.append(float(gap == 0))
        gaps.append(gap)
        plants.append(question.entity)
    return {
        "agreement": clustered_mean(agreement, plants).as_json(),
        "ties": clustered_mean(ties, plants).as_json(),
        "gap": clustered_mean(gaps, plants).as_json(),
    }


def true_score(world: World, question: Any, completion: str) -> float:
    answer = parse_answer(completion)
    text = answer.value if isinstance(answer, Parsed) else ""
    verdicts = grade(world, question.entity, question.attributes, text)
    weights = {attribute: ATTRIBUTES[attribute].weight for attribute in question.attributes}
    return sum(weights[a] * verdicts[a].rating for a in weights) / sum(weights.values())


if __name__ == "__main__":
    main()
