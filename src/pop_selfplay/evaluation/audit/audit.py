"""The whole audit of a run: gather, play, compare, and write audit.json.

The run itself is only read, also while it is running; what the audit plays is written to `audit.db` beside it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pop_selfplay.config import Budget
from pop_selfplay.errors import ModelError
from pop_selfplay.evaluation.audit.bias import bias
from pop_selfplay.evaluation.audit.diversity import diversity
from pop_selfplay.evaluation.audit.findings import Family
from pop_selfplay.evaluation.audit.gap import gap
from pop_selfplay.evaluation.audit.hacking import hacking
from pop_selfplay.evaluation.audit.modes import modes
from pop_selfplay.evaluation.audit.probes import Played, play
from pop_selfplay.evaluation.audit.references import Judged, Yardstick, second_judge, truth, verified
from pop_selfplay.evaluation.audit.rubrics import rubrics
from pop_selfplay.evaluation.audit.sample import Material, Options, Scored, gather, scored_episodes
from pop_selfplay.evaluation.audit.yields import yields
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.journal.directory import write_atomically
from pop_selfplay.journal.files import take_lock
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.runs.session import Session, watch_session

AUDIT_SCHEMA: Final = 1
JOURNAL: Final = "audit.db"
LOCK: Final = "audit.lock"
RESULT: Final = "audit.json"


def audit_run(path: Path, options: Options, observer: Observer | None = None) -> dict[str, Any]:
    """Audit the run at `path` and return the content of audit.json, which is written there.

    Raises ConfigError when `path` or `options.against` is no run, UsageError when it has no scored episode yet, JournalError
    when another audit of it is going on, and ModelError when a model that the audit needs cannot answer; what was finished is
    then kept for the next try.
    """
    if options.against is not None:
        RunDirectory.open(options.against)  # it is read last, and a mistyped one should not cost the audit
    with watch_session(path) as session:
        material = gather(session, options)
        with _workshop(session, observer or Unwatched()) as workshop:
            rounds = _rounds(material)
            graded = {one.id: one for sample in rounds.values() for one in sample}
            try:
                played = play(material, workshop)
                judged = second_judge(material, workshop, list(graded.values())) if options.play else None
            except ModelError as error:
                error.add_note("what needs no model can be audited without: pop audit … --no-play")
                raise
            known = truth(material, [*material.scored, *graded.values()])
            workshop.observer.phase("audit: figures")
            by_verify = session.config.synthesis.scoring == "verify"
            right = None if by_verify else verified(list(graded.values()))  # they would agree with themselves
            families = _families(material, played, rounds, (known, right), judged, workshop.journal)
    result = _result(material, families)
    write_atomically(path / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


@contextmanager
def _workshop(session: Session, observer: Observer) -> Iterator[Session]:
    """Open a session of the same run whose calls go into the audit's own journal, without its budget and its reuse."""
    config = session.config
    synthesis = config.synthesis.model_copy(update={"reuse": None})
    directory = RunDirectory(session.directory.path, config.model_copy(update={"synthesis": synthesis, "budget": Budget()}))
    with take_lock(directory.path / LOCK), Journal.open(directory.path / JOURNAL) as journal:
        yield Session(directory, journal, session.domain, observer)


def _rounds(material: Material) -> dict[int, tuple[Scored, ...]]:
    """Return the sampled episodes of every round that has scored ones, to be followed over the rounds."""
    size = material.options.sample
    found = {material.round: material.sample}
    for number in range(1, material.config.rounds + 1):
        if number != material.round and (scored := scored_episodes(material.session, number, most=size)):
            found[number] = scored
    return dict(sorted(found.items()))


def _families(
    material: Material,
    played: Played,
    rounds: dict[int, tuple[Scored, ...]],
    known: tuple[Yardstick | None, Yardstick | None],
    judged: Judged | None,
    journal: Journal,
) -> list[Family]:
    """`known` holds the truth and the verified final answers, as far as there are any."""
    yardsticks = [yardstick for yardstick in (*known, judged.mark if judged else None) if yardstick is not None]
    return [
        gap(material, played, yardsticks, judged),
        diversity(material, played),
        rubrics(material, played),
        bias(material, played, known[0]),
        modes(material, played, yardsticks, journal),
        hacking(material, rounds, yardsticks),
        yields(material, journal),
    ]


def _result(material: Material, families: list[Family]) -> dict[str, Any]:
    options = material.options
    warnings = [f"{family.name}.{figure.name}" for family in families for figure in family.figures if figure.warns]
    return {
        "schema": AUDIT_SCHEMA,
        "round": material.round,
        "scored": len(material.scored),
        "sample": len(material.sample),
        "judge": options.judge_name,
        "warnings": warnings,
        "families": [family.as_json() for family in families],
        "thresholds": {name: {limit.side: limit.value} for name, limit in options.limits.items()},
    }
