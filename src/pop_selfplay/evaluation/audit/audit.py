"""The whole audit of a run: gather, play, compare, and write audit.json.

The run itself is only read, also while it is running; what the audit plays is written to `audit.db` beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pop_selfplay.config import Budget
from pop_selfplay.errors import ModelError
from pop_selfplay.evaluation.audit.bias import bias
from pop_selfplay.evaluation.audit.diversity import diversity, rubrics
from pop_selfplay.evaluation.audit.findings import Family
from pop_selfplay.evaluation.audit.gap import gap
from pop_selfplay.evaluation.audit.hacking import hacking
from pop_selfplay.evaluation.audit.people import people
from pop_selfplay.evaluation.audit.probes import Played, play
from pop_selfplay.evaluation.audit.sample import (
    AuditedRound,
    ComparisonScores,
    Options,
    Scored,
    SecondOpinion,
    gather,
    labelled_episodes,
    scored_episodes,
    second_judge,
    truth,
    verified,
)
from pop_selfplay.evaluation.audit.yields import modes, yields
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.journal.files import take_lock, write_atomically
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.results.audit import AuditResult
from pop_selfplay.runs.casting import Casting
from pop_selfplay.runs.session import watch_session

JOURNAL: Final = "audit.db"
LOCK: Final = "audit.lock"
RESULT: Final = "audit.json"


def audit_run(path: Path, options: Options, observer: Observer | None = None) -> AuditResult:
    """Audit the run at `path` and return the content of audit.json, which is written there.

    Raises ConfigError when `path` or `options.against` is no run, UsageError when it has no scored episode yet, JournalError
    when another audit of it is going on, and ModelError when a model that the audit needs cannot answer; what was finished is
    then kept for the next try.
    """
    if options.against is not None:
        RunDirectory.open(options.against)  # it is read last, and a mistyped one should not cost the audit
    with watch_session(path) as session:
        audited = gather(session, options)
        with _apart(session.casting, observer or Unwatched()) as casting:
            rounds = _rounds(audited)
            graded = {one.id: one for sample in rounds.values() for one in sample}
            try:
                played = play(audited, casting)
                judged = second_judge(audited, casting, list(graded.values())) if options.play else None
            except ModelError as error:
                error.add_note("to audit without calling models: pop audit … --no-play")
                raise
            labelled = labelled_episodes(audited)
            known = truth(audited, [*audited.scored, *graded.values(), *labelled.values()])
            casting.observer.phase("audit: figures")
            by_verify = not session.config.synthesis.mode.needs_rubric
            right = None if by_verify else verified(list(graded.values()))  # they would agree with themselves
            families = _families(audited, played, rounds, (known, right), judged, casting.journal)
            families.append(people(audited, labelled, known))
    result = _result(audited, families)
    write_atomically(path / RESULT, result.to_json())
    return result


@contextmanager
def _apart(casting: Casting, observer: Observer) -> Iterator[Casting]:
    """Yield the run's casting with its calls in the audit's own journal, without the run's budget and reuse."""
    config, path = casting.config, casting.directory.path
    changes = {"synthesis": config.synthesis.changed({"reuse": None}), "budget": Budget()}
    with take_lock(path / LOCK), Journal.open(path / JOURNAL) as journal:
        yield casting.copy(config=config.changed(changes), journal=journal, observer=observer)


def _rounds(audited: AuditedRound) -> dict[int, tuple[Scored, ...]]:
    """Return the sampled episodes of every round that has scored ones, to be followed over the rounds."""
    size = audited.options.sample
    found = {audited.round: audited.sample}
    for number in range(1, audited.config.rounds + 1):
        if number != audited.round and (scored := scored_episodes(audited.session, number, most=size)):
            found[number] = scored
    return dict(sorted(found.items()))


def _families(
    audited: AuditedRound,
    played: Played,
    rounds: dict[int, tuple[Scored, ...]],
    known: tuple[ComparisonScores | None, ComparisonScores | None],
    judged: SecondOpinion | None,
    journal: Journal,
) -> list[Family]:
    """`known` holds the truth and the verified final answers, as far as there are any."""
    comparisons = [comparison for comparison in (*known, judged.mark if judged else None) if comparison is not None]
    return [
        gap(audited, played, comparisons, judged),
        diversity(audited, played),
        rubrics(audited, played),
        bias(audited, played, known[0]),
        modes(audited, played, comparisons, journal),
        hacking(audited, rounds, comparisons),
        yields(audited, journal),
    ]


def _result(audited: AuditedRound, families: list[Family]) -> AuditResult:
    options = audited.options
    return AuditResult(
        round=audited.round,
        scored=len(audited.scored),
        sample=len(audited.sample),
        judge=options.judge_name,
        warnings=tuple(f"{family.name}.{figure.name}" for family in families for figure in family.figures if figure.warns),
        families=tuple(family.reported for family in families),
        thresholds={name: limit.reported for name, limit in options.limits.items()},
    )
