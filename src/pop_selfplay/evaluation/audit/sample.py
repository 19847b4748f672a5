"""What an audit looks at: one round of a run, its scored episodes, and the sample of them that is played again.

Episodes are sampled by a hash of their ids, so that a larger sample holds the smaller one and a resumed audit takes the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from pop_selfplay.config import ModelConfig, RunConfig
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit.findings import THRESHOLDS, Thresholds
from pop_selfplay.judging import ScoringMode, find_mode
from pop_selfplay.records import Document, Episode, Evaluation, Problem, Rubric
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stats.intervals import SHARES, Estimate, Range, clustered_mean

MOST_EPISODES: Final = 2000
"""Of a round, this many scored episodes at most are read for figures that need no model call."""

SAMPLE: Final = 64


def modes_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return scoring modes by their names. Raises ConfigError, a UsageError, for one that does not exist."""
    return tuple(find_mode(name).name for name in names)


@dataclass(frozen=True)
class Options:
    """What the audit is asked for. `round` 0 is the last one with scored episodes."""

    sample: int = SAMPLE
    round: int = 0
    judge: ModelConfig | None = None
    judge_name: str = ""
    modes: tuple[str, ...] = ()
    against: Path | None = None
    play: bool = True
    limits: Thresholds = field(default_factory=lambda: THRESHOLDS)


@dataclass(frozen=True)
class Scored:
    """A problem with its rubric, its candidates' answers and what the run's judge made of them."""

    episode: Episode
    document: Document

    @property
    def id(self) -> str:
        return self.episode.id

    @property
    def problem(self) -> Problem:
        assert self.episode.problem is not None  # scored episodes have one
        return self.episode.problem

    @property
    def rubric(self) -> Rubric | None:
        return self.episode.rubric

    @cached_property
    def answers(self) -> dict[int, str]:
        """Candidate → answer, of the candidates that have a score."""
        return {c.index: c.answer for c in self.episode.candidates if c.index in self.scores}

    @cached_property
    def scores(self) -> dict[int, float]:
        return scores_of(self.episode.evaluations)


@dataclass(frozen=True)
class Material:
    """One round of a run. `scored` are its scored episodes (2000 at most), `sample` is the beginning of them."""

    session: Session
    options: Options
    round: int
    scored: tuple[Scored, ...]

    @property
    def config(self) -> RunConfig:
        return self.session.config

    @property
    def sample(self) -> tuple[Scored, ...]:
        return self.scored[: self.options.sample]

    @property
    def mode(self) -> ScoringMode:
        """How the run scored."""
        return self.config.synthesis.mode


def gather(session: Session, options: Options) -> Material:
    """Read the round to be audited. Raises UsageError where it has no scored episode."""
    rounds = range(session.config.rounds, 0, -1) if options.round == 0 else (options.round,)
    for round_ in rounds:
        if scored := scored_episodes(session, round_):
            return Material(session, options, round_, scored)
    which = f"round {options.round}" if options.round else "the run"
    raise UsageError(f"{which} of {session.directory.path} has no scored episode yet: continue with `pop run` first")


def scored_episodes(session: Session, round_: int, *, most: int = MOST_EPISODES) -> tuple[Scored, ...]:
    """Return the scored episodes of a round in the order of the sample, `most` at most."""
    journal = session.journal
    ids = sorted(journal.finished_episodes(round_), key=lambda id_: derive_seed("audit", id_))
    found: list[Scored] = []
    for id_ in ids:
        episode = journal.episode(round_, id_)
        if episode.failure is None:
            found.append(Scored(episode, journal.document(round_, episode.document_id)))
        if len(found) == most:
            break
    return tuple(found)


def scores_of(evaluations: Sequence[Evaluation]) -> dict[int, float]:
    """Return candidate → score."""
    return {evaluation.candidate: evaluation.score for evaluation in evaluations}


def aligned(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Return both scorings of the candidates that both have, in the same order."""
    both = sorted(one.keys() & other.keys())
    return [one[index] for index in both], [other[index] for index in both]


def per_problem(
    measure: Callable[[Sequence[float], Sequence[float]], float | None],
    one: Mapping[str, Mapping[int, float]],
    other: Mapping[str, Mapping[int, float]],
) -> dict[str, float]:
    """Return problem id → `measure` of its two scorings, for the problems that have both and on which it can be told."""
    found = {id_: measure(*aligned(one[id_], other[id_])) for id_ in one if id_ in other}
    return {id_: value for id_, value in found.items() if value is not None}


def over_problems(values: Mapping[str, float], within: Range | None = None) -> Estimate:
    """Return the mean over problems with its interval, by whole documents. `within` is the range of the values, where known."""
    return share_of({id_: [value] for id_, value in values.items()}, within)


def share_of(values: Mapping[str, Sequence[float]], within: Range | None = SHARES) -> Estimate:
    """Return the mean over all values of all problems, mostly a share, with its interval, by whole documents.

    An id is `round/document/number`.
    """
    flat = [(value, id_.rpartition("/")[0]) for id_, found in values.items() for value in found]
    return clustered_mean([value for value, _ in flat], [cluster for _, cluster in flat], within)
