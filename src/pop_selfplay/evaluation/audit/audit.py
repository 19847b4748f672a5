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
from pop_selfplay.evaluation.audit.gap import gap, modes
from pop_selfplay.evaluation.audit.hacking import hacking, yields
from pop_selfplay.evaluation.audit.probes import Played, play
from pop_selfplay.evaluation.audit.references import SecondOpinion, Yardstick, second_judge, truth, verified
from pop_selfplay.evaluation.audit.sample import Material, Options, Scored, gather, scored_episodes
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
        material = gather(session, options)
        with _apart(session.casting, observer or Unwatched()) as casting:
            rounds = _rounds(material)
            graded = {one.id: one for sample in rounds.values() for one in sample}
            try:
                played = play(material, casting)
                judged = second_judge(material, casting, list(graded.values())) if options.play else None
            except ModelError as error:
                error.add_note("to audit without calling models: pop audit … --no-play")
                raise
            known = truth(material, [*material.scored, *graded.values()])
            casting.observer.phase("audit: figures")
            by_verify = not session.config.synthesis.mode.needs_rubric
            right = None if by_verify else verified(list(graded.values()))  # they would agree with themselves
            families = _families(material, played, rounds, (known, right), judged, casting.journal)
    result = _result(material, families)
    write_atomically(path / RESULT, result.to_json())
    return result


@contextmanager
def _apart(casting: Casting, observer: Observer) -> Iterator[Casting]:
    """Yield the run's casting with its calls in the audit's own journal, without the run's budget and reuse."""
    config, path = casting.config, casting.directory.path
    changes = {"synthesis": config.synthesis.changed({"reuse": None}), "budget": Budget()}
    with take_lock(path / LOCK), Journal.open(path / JOURNAL) as journal:
        yield casting.copy(config=config.changed(changes), journal=journal, observer=observer)


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
    judged: SecondOpinion | None,
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


def _result(material: Material, families: list[Family]) -> AuditResult:
    options = material.options
    return AuditResult(
        round=material.round,
        scored=len(material.scored),
        sample=len(material.sample),
        judge=options.judge_name,
        warnings=tuple(f"{family.name}.{figure.name}" for family in families for figure in family.figures if figure.warns),
        families=tuple(family.reported for family in families),
        thresholds={name: limit.reported for name, limit in options.limits.items()},
    )
