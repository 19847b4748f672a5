"""What an audit looks at, and what it is compared with: a round's scored episodes; the truth, final answers, a second judge.

Episodes are sampled by a hash of their ids, so that a larger sample holds the smaller one and a resumed audit takes the same.

The truth and final answers are used where they are known, the second judge where one is named. It sees more than the run's own:
the document and the reference answer. It grades every candidate twice.

    mark        by a fixed rubric, `FIXED_RUBRIC`, which knows nothing of the run's: says whether the ranking is right at all
    by rubric   by the run's own rubric: says whether the run's judge applies its rubric as a stronger one would

Only the mark is used to compare rubrics: a grade by one of them would favour it. The next thing to compare with is a function
that returns `ComparisonScores`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from pop_selfplay import labels
from pop_selfplay.config import JudgeSampling, ModelConfig, RunConfig
from pop_selfplay.domains import Prompt, load_prompt
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit import THRESHOLDS, Thresholds
from pop_selfplay.judging import ScoringMode, find_mode, rubric_json
from pop_selfplay.method.parsing import parse_evaluation
from pop_selfplay.method.rewards import score
from pop_selfplay.pocket.world import knows_truth, truth_score
from pop_selfplay.records import Candidate, Criterion, Document, Episode, Evaluation, Failure, Problem, Role, Rubric
from pop_selfplay.runs.casting import Casting
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.stats.intervals import SHARES, Estimate, Range, clustered_mean
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread

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
class AuditedRound:
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


def gather(session: Session, options: Options) -> AuditedRound:
    """Read the round to be audited. Raises UsageError where it has no scored episode."""
    rounds = range(session.config.rounds, 0, -1) if options.round == 0 else (options.round,)
    for round_ in rounds:
        if scored := scored_episodes(session, round_):
            return AuditedRound(session, options, round_, scored)
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


def labelled_episodes(audited: AuditedRound) -> dict[str, Scored]:
    """Return the scored problems of the round that people have labelled, by id: also those that are not among the audited."""
    journal, known = audited.session.journal, {one.id: one for one in audited.scored}
    found = {}
    for id_ in sorted({label.episode for label in labels.read(audited.session.directory.path)}):
        if id_ not in known and journal.round_of(id_) == audited.round:
            episode = journal.episode(audited.round, id_)
            if episode.failure is None:
                known[id_] = Scored(episode, journal.document(audited.round, episode.document_id))
        if id_ in known:
            found[id_] = known[id_]
    return found


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


MOST_MARKED: Final = 16
"""Of a problem, the second judge grades so many candidates at most, spread over length."""

FIXED_RUBRIC: Final = Rubric(
    criteria=(
        Criterion(
            name="agrees with the document",
            description="What the answer says on what was asked agrees with the document. 2: in everything that matters; "
            "1: mostly, with a slip; 0: it contradicts the document, or does not say.",
            weight=4,
            gold="Not applicable",
        ),
        Criterion(
            name="covers what was asked",
            description="Every part of the problem is answered. 2: all, specifically; 1: some, or all vaguely; 0: hardly any.",
            weight=3,
            gold="Not applicable",
        ),
        Criterion(
            name="free of made-up claims",
            description="Nothing in the answer is false or invented. 2: nothing; 1: something minor; 0: what misleads.",
            weight=2,
            gold="Not applicable",
        ),
        Criterion(
            name="useful to the asker",
            description="The answer is in the form that was wanted and can be used as it is. 2: yes; 1: with effort; 0: no.",
            weight=1,
            gold="Not applicable",
        ),
    )
)
_PLACES: Final = frozenset({"document", "problem", "reference_answer", "rubric", "answer"})

Scores = dict[str, dict[int, float]]
"""Problem id → candidate → score in [0, 2]."""


@dataclass
class ComparisonScores:
    """Scores from outside the rubric to compare with. `name` is how tables call it; `lost` counts what it could not score."""

    name: str
    scores: Scores
    lost: Counter[str] = field(default_factory=Counter)


@dataclass
class SecondOpinion:
    """What the second judge made of the sample."""

    mark: ComparisonScores
    by_rubric: ComparisonScores


def truth(audited: AuditedRound, scored: Sequence[Scored]) -> ComparisonScores | None:
    """Return what the answers of `scored` are truly worth, None where nobody knows."""
    if not knows_truth(audited.config.corpus):
        return None
    found = ComparisonScores("the truth", {})
    for one in scored:
        worth = {index: truth_score(one.problem, answer) for index, answer in one.answers.items()}
        known = {index: value for index, value in worth.items() if value is not None}
        if known:
            found.scores[one.id] = known
        else:
            found.lost["not a question of the pocket world"] += 1
    return found


def verified(scored: Sequence[Scored]) -> ComparisonScores | None:
    """Return which answers have the reference's final answer (2) or another one (0), None where the domain asks for none.

    The reference is the proposer's own, and may be wrong; but no judge and no rubric has a say in it.
    """
    found = ComparisonScores("the reference's final answer", {})
    for one in scored:
        known = {e.candidate: 2.0 * e.verified for e in one.episode.evaluations if e.verified is not None}
        if known:
            found.scores[one.id] = known
    return found if found.scores else None


def second_judge(audited: AuditedRound, casting: Casting, scored: Sequence[Scored]) -> SecondOpinion | None:
    """Let the judge of the options grade the answers of `scored`; None where the options name none."""
    judge, name = audited.options.judge, audited.options.judge_name
    if judge is None:
        return None
    frozen = [role for role in casting.config.frozen_roles if role != Role.JUDGE]  # a teacher cannot be frozen, too
    judges = casting.copy(config=casting.config.changed({"teachers": {Role.JUDGE: judge}, "frozen_roles": frozen}))
    judged = SecondOpinion(ComparisonScores(name, {}), ComparisonScores(f"{name}, by the run's rubric", {}))

    async def work(cast: Cast) -> None:
        careful = replace(cast, synthesis=cast.synthesis.changed({"judge": JudgeSampling(), "votes": 1}))
        waiting = iter(scored)

        async def worker() -> None:
            for one in waiting:
                await _graded(careful, one, FIXED_RUBRIC, judged.mark)
                if one.rubric is not None:
                    await _graded(careful, one, one.rubric, judged.by_rubric)

        await together(worker() for _ in range(cast.episodes_at_once))

    casting.observer.phase(f"audit: {name} grades {len(scored)} problems")
    judges.play({Role.JUDGE: audited.round}, work)
    return judged


async def _graded(cast: Cast, scored: Scored, rubric: Rubric, into: ComparisonScores) -> None:
    candidates = [candidate for candidate in scored.episode.candidates if candidate.index in scored.scores]
    part = "mark" if rubric is FIXED_RUBRIC else "by rubric"

    async def grade(candidate: Candidate) -> None:
        messages = rate_with_document().fill(
            {
                "document": scored.document.text,
                "problem": scored.problem.text,
                "reference_answer": scored.problem.reference_answer,
                "rubric": rubric_json(rubric, weights=False),
                "answer": candidate.answer,
            },
            {},
        )
        place = f"audit/second judge {part}/{scored.id}"
        question = Question(scored.episode.round, place, Role.JUDGE, str(candidate.index), messages)
        ratings = await ask(cast, question, lambda completion: parse_evaluation(completion, rubric.criteria))
        if isinstance(ratings, Failure):
            into.lost[ratings.reason] += 1
        else:
            into.scores.setdefault(scored.id, {})[candidate.index] = score(rubric, ratings)

    await together(grade(candidate) for candidate in spread(candidates, MOST_MARKED))


@cache
def rate_with_document() -> Prompt:
    """Return the second judge's prompt."""
    return load_prompt(Path(__file__).parent / "rate_with_document.md", _PLACES)
