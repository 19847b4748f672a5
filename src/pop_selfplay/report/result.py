"""The figures of a run: `result.json`, computed from the journal alone, at any time of the run.

How good the rubrics of a round were: their power to separate, and their word on verified and on reference answers.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pop_selfplay.evaluation.measure import between, comparison
from pop_selfplay.evaluation.rounds import best_model, decisions, stopped
from pop_selfplay.journal.directory import write_atomically
from pop_selfplay.method.rubrics import below_median, criterion_power, verify_agreement
from pop_selfplay.pairing import pair_of, paired_problems, problem_clusters
from pop_selfplay.records import Episode, Failure, PreferencePair, Role
from pop_selfplay.report.page import render_page
from pop_selfplay.runs.lineage import lineage_of
from pop_selfplay.runs.session import Session, watch_session
from pop_selfplay.stages.refusals import last_words
from pop_selfplay.stats.intervals import SHARES, clustered_mean

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
        "refusals": dict(last_words(session.journal)),
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
        for used in session.account.usage(tally)
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


ALIKE: Final = 0.05
"""Standard deviation of ratings below which a criterion tells nobody apart: one in a hundred rated a step higher gives 0.1."""


@dataclass
class Quality:
    """Figures of one round, gathered episode by episode. Intervals are 95 % ones, by whole documents."""

    stds: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)  # the document of each criterion in stds and differences
    agreements: list[float] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    references: int = 0
    below_median: int = 0

    def add(self, episode: Episode) -> None:
        """Take in one episode; one that failed adds nothing."""
        if episode.rubric is not None:
            for power in criterion_power(episode.rubric, episode.evaluations):
                self.stds.append(power.std)
                self.differences.append(power.difference)
                self.documents.append(episode.document_id)
        agreement = verify_agreement(episode.evaluations)
        if agreement is not None:
            self.agreements.append(agreement)
            self.agreeing.append(episode.document_id)
        if episode.reference_evaluation is not None:
            self.references += 1
            self.below_median += below_median(episode.reference_evaluation, episode.evaluations)

    def as_json(self) -> dict[str, Any]:
        """Return the figures for result.json; a figure over nothing has n 0 and no mean."""
        alike = [float(std < ALIKE) for std in self.stds]
        return {
            "criteria": {
                "std": clustered_mean(self.stds, self.documents, SHARES).as_json(),
                "difference": clustered_mean(self.differences, self.documents, (0, 2)).as_json(),
                "rate_all_alike": clustered_mean(alike, self.documents, SHARES).as_json(),
            },
            "verify_agreement": clustered_mean(self.agreements, self.agreeing, SHARES).as_json(),
            "reference_answers": {"scored": self.references, "below_median": self.below_median},
        }
