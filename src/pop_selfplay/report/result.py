"""The figures of a run: `result.json`, computed from the journal alone, at any time of the run."""

import json
from collections import Counter
from typing import Any, Final

from pop_selfplay.episode import pair_of
from pop_selfplay.journal.rundir import write_atomically
from pop_selfplay.records import Failure, Role
from pop_selfplay.report.page import render_page
from pop_selfplay.session import Session

RESULT_SCHEMA: Final = 1


def write_result(session: Session, measured: dict[str, Any]) -> dict[str, Any]:
    """Compute the result, write result.json and report.html, and return it."""
    result = compute_result(session, measured)
    write_atomically(session.directory.result_path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_atomically(session.directory.report_path, render_page(session, result))
    return result


def compute_result(session: Session, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run, finished or not. Every lost document, problem and pair is in `dropped` with its reason."""
    config = session.config
    return {
        "schema": RESULT_SCHEMA,
        "domain": session.domain.name,
        "seed": config.seed,
        "document": set(config.synthesis.document_for) == {Role.PROPOSER, Role.RUBRIC_WRITER},
        "rounds": [_round(session, number) for number in range(1, config.rounds + 1)],
        "roles": {role: dict(sorted(reasons.items())) for role, reasons in session.journal.tally.calls_by_role().items()},
        "measure": measured,
    }


def _round(session: Session, number: int) -> dict[str, Any]:
    journal, tally = session.journal, session.journal.tally
    counts: Counter[str] = Counter()
    dropped = Counter({f"corpus.{reason}": count for reason, count in journal.corpus_drops(number).items()})
    for episode in journal.episodes(number):
        counts["problems"] += episode.problem is not None
        counts["candidates"] += len(episode.candidates)
        counts["rubrics"] += episode.rubric is not None
        counts["evaluations"] += len(episode.evaluations)
        outcome = pair_of(episode, session.domain, session.config.pairing, session.config.seed)
        if isinstance(outcome, Failure):
            dropped[f"{outcome.stage}.{outcome.reason}"] += 1
        else:
            counts["pairs"] += 1
    training = journal.noted(f"training/{number}")
    return {
        "round": number,
        "documents": len(journal.documents(number)),
        **{what: counts[what] for what in ("problems", "candidates", "rubrics", "evaluations", "pairs")},
        "dropped": dict(sorted(dropped.items())),
        "tokens": {kind: tally.total_tokens(kind, number) for kind in ("prompt", "cached", "generated")},
        "training": json.loads(training) if training else None,
        "seconds": {
            phase: round(float(journal.noted(f"seconds/{number}/{phase}") or 0.0), 2)
            for phase in ("synthesis", "training", "measure")
        },
    }
