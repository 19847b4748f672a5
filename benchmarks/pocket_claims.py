"""The paper's claims, tested on the pocket world against exact truth: `python benchmarks/pocket_study.py --claims`.

    (a) self-play with documents improves closed-book accuracy
    (b) without the document it does so less, or not at all
    (c) best/worst pairs agree with the truth more often than all pairs do
    (d) problems without documents collapse

Arms: `both` proposer and rubric writer see the document, `proposer` the proposer alone, `none` neither. Every arm and seed is a
run directory that goes on where it was stopped, and what is read from it a small file beside: so a second call only does the
rest. Intervals draw seeds and plants anew (`bootstrap_crossed`), because all seeds share the plants and the exam.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from benchmarks.claims_report import write_report

import pop_selfplay as pop
from pop_selfplay.config import RunConfig
from pop_selfplay.domains import load_domain
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.pairing import pair_of
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.pocket.world import truth_score
from pop_selfplay.records import Document, Episode, PreferencePair, Problem, Role
from pop_selfplay.runs.casting import Casting
from pop_selfplay.runs.session import Session, watch_session
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.propose import propose
from pop_selfplay.stats.comparisons import above, best_worst, spearman
from pop_selfplay.tasks import together

ARMS: Final = {"both": [Role.PROPOSER, Role.RUBRIC_WRITER], "proposer": [Role.PROPOSER], "none": []}
SEEDS: Final = "1,2,3,4,5"
UNPROMPTED, ATTEMPTS, LONGEST = 100, 60, 48  # problems wanted without any text, tries for each, and tokens of a try
RESULTS: Final = Path(__file__).parent / "results" / "pocket_claims.json"
DOCS: Final = Path(__file__).parents[1] / "docs"

Sums = dict[str, dict[str, list[float]]]
"""Measure → plant → [sum, count]."""


def claims(arguments: list[str]) -> None:
    """Play what is missing, gather, write the results and the page."""
    parser = argparse.ArgumentParser(prog="pocket_study.py --claims", description=__doc__)
    parser.add_argument("--seeds", default=SEEDS, help="comma-separated")
    parser.add_argument("--work", type=Path, default=Path("runs/claims"), help="where the runs lie; kept, for resuming")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where claims.md and its plots lie")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if len(set(seeds)) < 2:
        parser.error(f"--seeds {options.seeds}: no interval without two seeds or more")
    runs = [one_run(seed, arm, options.work) for seed in seeds for arm in ARMS]
    bare = [unprompted(seed, options.work) for seed in seeds]
    write_report(runs, bare, options.json, options.docs)


def one_run(seed: int, arm: str, work: Path) -> dict[str, Any]:
    """Play one run, or what is left of it, and return what the claims need of it."""

    def play() -> dict[str, Any]:
        config = quickstart_config(seed=seed)
        config = config.model_copy(
            update={"synthesis": config.synthesis.model_copy(update={"document_for": ARMS[arm]})},
        )
        result = pop.run(config, work / f"{arm}-{seed}")
        with watch_session(work / f"{arm}-{seed}") as session:
            return {"seed": seed, "arm": arm, **gathered(session), "seconds": result.rounds[0].seconds.model_dump()}

    return once(work / f"{arm}-{seed}.json", play)


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `path` holds, or else what `make` returns, and keep that there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(make(), separators=(",", ":")) + "\n")
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sys.stdout.write(f"{path.stem}: done\n")
    sys.stdout.flush()
    return made


def gathered(session: Session) -> dict[str, Any]:
    """Return the exam by plant, agreement with the truth by plant, and the problems."""
    episodes = [episode for episode in session.journal.episodes(1) if episode.failure is None]
    titles = {document.id: document.title for document in session.journal.documents(1)}
    return {
        "exam": exam(session),
        "agreement": agreement(session, episodes, titles),
        "problems": [episode.problem.text for episode in episodes if episode.problem],
    }


def exam(session: Session) -> dict[str, Sums]:
    """Return group and mode → before and after → plant → [facts known, facts asked]."""
    found: dict[str, Sums] = {}
    for label, key in (("before", "measure/0"), ("after", "measure/1")):
        for group, modes in json.loads(session.journal.noted(key) or "{}").items():
            for mode, facts in modes.items():
                sums = found.setdefault(f"{group} {mode}", {}).setdefault(label, {})
                for plant, outcome in facts:
                    add(sums, plant, float(outcome == "known"))
    return found


def agreement(session: Session, episodes: list[Episode], titles: dict[str, str]) -> Sums:
    """Return how the self-made scores agree with the truth, one value for each problem, summed by plant."""
    found: Sums = defaultdict(dict)
    for episode in episodes:
        assert episode.problem is not None  # these did not fail
        answers = {candidate.index: candidate.answer for candidate in episode.candidates}
        truths = [truth_score(episode.problem, answers[evaluation.candidate]) for evaluation in episode.evaluations]
        known = [truth for truth in truths if truth is not None]
        if len(known) < len(truths):
            continue
        scores = [evaluation.score for evaluation in episode.evaluations]
        measures = {"spearman": spearman(scores, known), "best_worst": best_worst(scores, known)}
        measures |= {"all_pairs": all_pairs(scores, known)}
        pair = pair_of(episode, session.domain, session.config.pairing, session.config.seed)
        if isinstance(pair, PreferencePair):
            measures["trained_pair"] = _points_right(episode.problem, pair)
        for name, value in measures.items():
            if value is not None:
                add(found[name], titles[episode.document_id], value)
        add(found["self_score"], titles[episode.document_id], sum(scores) / len(scores))
        add(found["true_score"], titles[episode.document_id], sum(known) / len(known))
    return found


def all_pairs(scores: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return how often `truth` orders a pair as `scores` do, over every pair that `scores` tell apart; None where none is."""
    pairs = [(a, b) if a[0] > b[0] else (b, a) for a, b in combinations(zip(scores, truth, strict=True), 2) if a[0] != b[0]]
    return statistics.fmean(above(high[1], low[1]) for high, low in pairs) if pairs else None


def _points_right(problem: Problem, pair: PreferencePair) -> float | None:
    """Return 1 where the chosen completion is truly better, 0 where the rejected one is, 0.5 where they are worth the same."""
    chosen, rejected = (truth_score(problem, said[0].content) for said in (pair.chosen, pair.rejected))
    return None if chosen is None or rejected is None else best_worst([1.0, 0.0], [chosen, rejected])


def unprompted(seed: int, work: Path) -> dict[str, Any]:
    """Let the starting model propose from neither document nor title, and return the problems.

    It was never taught to, so about one try in a hundred is well formed: hence the many attempts. Those that are, are what it
    would ask of its own accord.
    """

    def play() -> dict[str, Any]:
        config = quickstart_config(seed=seed)
        with Journal.open(Path(":memory:")) as journal:
            casting = Casting(RunDirectory(work, config), journal, load_domain("pocket"))
            made = casting.play({Role.PROPOSER: 1}, lambda cast: _proposals(cast, config))
        return {"seed": seed, "problems": [problem.text for problem in made]}

    return once(work / f"unprompted-{seed}.json", play)


async def _proposals(cast: Cast, config: RunConfig) -> list[Problem]:
    many = config.synthesis.proposer.model_copy(update={"attempts": ATTEMPTS, "max_tokens": LONGEST})
    hidden = replace(cast, synthesis=config.synthesis.model_copy(update={"document_for": [], "proposer": many}))
    nothing = (Document(id=str(number), text="") for number in range(UNPROMPTED))
    made = await together(propose(hidden, document, 1, f"1/{document.id}/0") for document in nothing)
    return [problem for problem in made if isinstance(problem, Problem)]


def add(sums: dict[str, list[float]], plant: str, value: float) -> None:
    """Add one value to the sum and the count of `plant`."""
    total = sums.setdefault(plant, [0.0, 0.0])
    total[0] = round(total[0] + value, 6)
    total[1] += 1
