"""What a journal notes beside calls and episodes: every kind of note, the key it has, and the type of what it holds.

    SECONDS         time spent on a phase, over all sessions    seconds/<round>/<phase>
    TRAINING        figures of a round's training               training/<round>
    EXAM            what an exam found, before comparing        measure/<round>
    PROBLEM_SCORES  the same of the self-judged measure         measure/<round>
    DECISION        whether it is worth going on                decision/<round>/training, decision/<round>/next_round
    LINEAGE         who played a role                           lineage/<round>/<role>, lineage/measure/<round>/<role>
    SHARD           which part of the documents a journal has   shard

A new kind of note is a line at the end, or beside its type where only one room needs it (evaluation/evaluate.py).
"""

from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from pop_selfplay.journal.files import unparsed
from pop_selfplay.journal.journal import Journal
from pop_selfplay.records import Shard
from pop_selfplay.results.run import Ancestor, RoundDecision, TrainingFigures

T = TypeVar("T")

ProblemScores = dict[str, float]
"""Problem id → mean score of its candidates in [0, 2], for the problems that could be scored."""

Facts = list[tuple[str, str]]
"""(plant, outcome) of every asked fact, in a fixed order."""

ExamResult = dict[str, dict[str, Facts]]
"""group → mode → facts. Groups are self_play and held_out, modes greedy and sampled, outcomes known, hedged, wrong and omitted.
"""


class PartOfRun(NamedTuple):
    """Which part of the documents a journal holds: its shard, how many documents each round has in all, and their hash.

    The shards of one run have the same hash. Shard 1 also holds the documents of round 0, all of them.
    """

    shard: Shard
    totals: tuple[int, ...]
    choice: str


class Note(Generic[T]):
    """One kind of note. `key` has a place in braces for each part that tells notes of this kind apart."""

    def __init__(self, key: str, holds: Any) -> None:
        self._key = key
        self._type: TypeAdapter[T] = TypeAdapter(holds)

    def read(self, journal: Journal, *parts: object) -> T | None:
        """Return what is noted, None where nothing is. Raises JournalDamaged when it is something else than it should be."""
        key = self._key.format(*parts)
        noted = journal.noted(key)
        return None if noted is None else self._parsed(journal, key, noted)

    def exists(self, journal: Journal, *parts: object) -> bool:
        """Tell whether anything is noted, without reading it."""
        return journal.noted(self._key.format(*parts)) is not None

    def write(self, journal: Journal, value: T, *parts: object) -> None:
        """Note `value`, replacing an earlier one."""
        journal.note(self._key.format(*parts), self._type.dump_json(value).decode())

    def values(self, journal: Journal) -> list[T]:
        """Return all notes of this kind, in the order of their keys."""
        prefix = self._key.partition("{")[0]
        return [self._parsed(journal, prefix + rest, noted) for rest, noted in journal.noted_under(prefix).items()]

    def _parsed(self, journal: Journal, key: str, noted: str) -> T:
        try:
            return self._type.validate_json(noted)
        except ValidationError as error:
            raise unparsed(journal.path, f"the note {key}", error) from error


SECONDS: Final[Note[float]] = Note("seconds/{}", float)
TRAINING: Final[Note[TrainingFigures]] = Note("training/{}", TrainingFigures)
EXAM: Final[Note[ExamResult]] = Note("measure/{}", ExamResult)
PROBLEM_SCORES: Final[Note[ProblemScores]] = Note("measure/{}", ProblemScores)
DECISION: Final[Note[RoundDecision]] = Note("decision/{}/{}", RoundDecision)
LINEAGE: Final[Note[tuple[Ancestor, ...]]] = Note("lineage/{}/{}", tuple[Ancestor, ...])
SHARD: Final[Note[PartOfRun]] = Note("shard", PartOfRun)
