"""The figures of a run: `result.json`, computed from the journal alone, at any time of the run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from pop_selfplay.episode import pair_of, problem_clusters
from pop_selfplay.evaluation.measure import between, comparison
from pop_selfplay.evaluation.rounds import best_model, decisions, stopped
from pop_selfplay.journal.rundir import write_atomically
from pop_selfplay.lineage import lineage_of
from pop_selfplay.problem_pairs import paired_problems
from pop_selfplay.records import Episode, Failure, PreferencePair, Role
from pop_selfplay.report.page import render_page
from pop_selfplay.report.quality import Quality
from pop_selfplay.session import Session, watch_session

RESULT_SCHEMA: Final = 1


def write_result(session: Session, measured: dict[str, Any]) -> dict[str, Any]:
    """Compute the result, write result.json and report.html, and return it."""
    result = compute_result(session, measured)
    write_atomically(session.directory.result_path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_atomically(session.directory.report_path, render_page(session, result))
    return result


def refresh_page(path: Path) -> None:
    """Write the report.html of a run again, where it has one, with what was put beside it since: an audit, say."""
    with watch_session(path) as session:
        if session.directory.report_path.is_file():
            page = render_page(session, compute_result(session, comparison(session)))
            write_atomically(session.directory.report_path, page)


def compute_result(session: Session, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run, finished or not. Every lost document, problem and pair is in `dropped` with its reason."""
    config, usage = session.config, _usage(session)
    return {
        "schema": RESULT_SCHEMA,
        "domain": session.domain.name,
        "seed": config.seed,
        "document": set(config.synthesis.document_for) == {Role.PROPOSER, Role.RUBRIC_WRITER},
        "rounds": _rounds(session, usage),
        "usage": usage,
        "stopped": None if (stop := stopped(session)) is None else stop.model_dump(),
        "model": best_model(session),
        "roles": {role: dict(sorted(reasons.items())) for role, reasons in session.journal.tally.calls_by_role().items()},
        "measure": measured,
    }


class _Found:
    """What the episodes of one round came to."""

    def __init__(self, corpus_drops: dict[str, int]) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped = Counter({f"corpus.{reason}": count for reason, count in corpus_drops.items()})
        self.proposer_dropped: Counter[str] = Counter()
        self.quality = Quality()

    def add(self, episode: Episode, outcome: PreferencePair | Failure) -> None:
        """Take in one finished episode with its pair, taken by itself, or why it gives none."""
        self.counts["problems"] += episode.problem is not None
        self.counts["candidates"] += len(episode.candidates)
        self.counts["rubrics"] += episode.rubric is not None
        self.counts["evaluations"] += len(episode.evaluations)
        self.quality.add(episode)
        if isinstance(outcome, Failure):
            self.dropped[f"{outcome.stage}.{outcome.reason}"] += 1
        else:
            self.counts["pairs"] += 1

    def drop_repeats(self, count: int) -> None:
        """Take back so many pairs, whose problems nearly repeat others."""
        self.counts["pairs"] -= count
        if count:
            self.dropped["pair.near_duplicate_problem"] += count

    def add_problems(self, outcome: PreferencePair | Failure) -> None:
        if isinstance(outcome, Failure):
            self.proposer_dropped[f"{outcome.stage}.{outcome.reason}"] += 1
        else:
            self.counts["proposer_pairs"] += 1


def _usage(session: Session) -> list[dict[str, Any]]:
    """Return what each role used in each round, the measurements being round 0: all that the budget counts."""
    tally = session.journal.tally
    return [
        {
            "round": used.round,
            "role": used.role,
            "calls": sum(n for (r, role, _), n in tally.calls.items() if (r, role) == (used.round, used.role)),
            **{what: getattr(used, what) for what in ("prompt", "cached", "generated")},
            "money": round(used.money, 6),
        }
        for used in session.usage(tally)
    ]


def _rounds(session: Session, usage: list[dict[str, Any]]) -> list[dict[str, Any]]:
    config, stop = session.config, stopped(session)
    last = config.rounds if stop is None else stop.round
    found = {number: _Found(session.journal.corpus_drops(number)) for number in range(1, last + 1)}
    clusters = problem_clusters(session.domain, config.pairing)
    for number in found:
        # As `paired` does, but reading every episode once: which of the repeats is dropped changes no figure.
        problems = {}
        for episode in session.journal.episodes(number):
            outcome = pair_of(episode, session.domain, config.pairing, config.seed)
            found[number].add(episode, outcome)
            if clusters is not None and episode.problem and isinstance(outcome, PreferencePair):
                problems[episode.id] = episode.problem.text
        if clusters is not None:
            found[number].drop_repeats(len(clusters.add_round(problems)))
    rounds = range(1, last + 1)
    for number, made in paired_problems(session.journal, rounds, session.domain, config.synthesis, config.pairing, config.seed):
        found[number].add_problems(made)
    return [_round(session, number, found[number], usage) for number in found]


def _round(session: Session, number: int, found: _Found, usage: list[dict[str, Any]]) -> dict[str, Any]:
    journal, tally = session.journal, session.journal.tally
    training = journal.noted(f"training/{number}")
    return {
        "round": number,
        "documents": len(journal.document_ids(number)),
        **{what: found.counts[what] for what in ("problems", "candidates", "rubrics", "evaluations", "pairs")},
        "dropped": dict(sorted(found.dropped.items())),
        "proposer": None
        if session.config.pairing.proposer is None
        else {"pairs": found.counts["proposer_pairs"], "dropped": dict(sorted(found.proposer_dropped.items()))},
        **found.quality.as_json(),
        "lineage": lineage_of(session, number),
        "decisions": [decision.model_dump(exclude={"round"}) for decision in decisions(session) if decision.round == number],
        "measure": between(session, 0, number),
        "tokens": {kind: tally.total_tokens(kind, number) for kind in ("prompt", "cached", "generated")},
        "usage": {
            used["role"]: {what: used[what] for what in ("calls", "prompt", "cached", "generated", "money")}
            for used in usage
            if used["round"] == number
        },
        "training": json.loads(training) if training else None,
        "seconds": {
            phase: round(float(journal.noted(f"seconds/{number}/{phase}") or 0.0), 2)
            for phase in ("synthesis", "training", "measure")
        },
    }
