"""`pop rejudge`: the answers of a run scored again by another judge, prompt or mode, without solving anew; which pairs change.

    settings_of   the config and the domain of the new run: those of the old one, with what is to be different
    reopen        the new run directory, with the documents of the old one
    judge_again   every finished episode scored anew: problems, answers and rubrics are the old run's, whatever they cost there
    compare       the old pairs beside the new ones
    planned       what it would take, before anything is asked

The new directory is a run like any other: it can be viewed, audited, exported and trained on. Only the judge is ever asked, and
what it has answered is in the journal: a killed rejudging goes on there. A new way to be different is a field of `Different`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from pop_selfplay.config import ModelConfig, RunConfig, prices_of
from pop_selfplay.domains import Domain, check_domain, with_prompt
from pop_selfplay.episode import rate_again
from pop_selfplay.errors import UsageError, validation_text
from pop_selfplay.evaluation.audit.sample import aligned, scores_of
from pop_selfplay.journal import CallKey, Journal, RunDirectory, StoredCall
from pop_selfplay.journal.notes import LINEAGE
from pop_selfplay.judging import ScoringMode, find_mode
from pop_selfplay.observer import Observer
from pop_selfplay.pairing import paired
from pop_selfplay.plan import Plan, Planned, count_ratings, hours_of
from pop_selfplay.records import Episode, Failure, PreferencePair, Role
from pop_selfplay.results import RejudgeResult, ReportedEstimate
from pop_selfplay.results.audit import Outcome, PairChange, PairShare, RejudgedRound
from pop_selfplay.runs.casting import Casting
from pop_selfplay.runs.lineage import note_lineage
from pop_selfplay.runs.session import Session, open_session, watch_session
from pop_selfplay.scale.shards import refuse_shard
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.refusals import ask_again
from pop_selfplay.stats.comparisons import above, spearman
from pop_selfplay.stats.intervals import SHARES, SIGNED, clustered_mean
from pop_selfplay.tasks import together

RESULT: Final = "rejudge.json"
_SAMPLE: Final = 200
"""Episodes by which a plan is made."""


@dataclass(frozen=True)
class Different:
    """What is to be different from the run; None and "" leave it as it was. `judge_name` is what people call the judge."""

    judge: ModelConfig | None = None
    judge_name: str = ""
    prompt: Path | None = None
    mode: str = ""

    @property
    def anything(self) -> bool:
        return bool(self.judge or self.prompt or self.mode)


def settings_of(source: Session, different: Different) -> tuple[RunConfig, Domain]:
    """Return config and domain of the new run. Raises UsageError, ConfigError and DomainError for what makes no sense."""
    refuse_shard(source)
    if not different.anything:
        raise UsageError(
            "nothing would be different: name another judge with --judge, a prompt with --prompt, a mode with --mode"
        )
    old, path = source.config, source.directory.path
    mode = find_mode(different.mode) if different.mode else old.synthesis.mode
    if mode.needs_rubric and not old.synthesis.mode.needs_rubric:
        raise UsageError(f"{path} has no rubrics (scoring {old.synthesis.scoring}), which scoring {mode.name} needs")
    synthesis: dict[str, object] = {
        "scoring": mode.name,
        "reuse": {"run": str(path.resolve()), "problems": True, "candidates": True, "rubrics": mode.needs_rubric},
        "early_stop": None if mode.score_range is None else old.synthesis.early_stop,
        "score_reference": old.synthesis.score_reference and mode.needs_rubric,
        "votes": old.synthesis.votes if mode.takes_votes else 1,
    }
    teachers, frozen = dict(old.teachers), list(old.frozen_roles)
    if different.judge is not None:
        teachers[Role.JUDGE] = different.judge
        frozen = [role for role in frozen if role != Role.JUDGE]  # a teacher cannot be frozen, too
    try:
        changed = old.synthesis.changed(synthesis)
        config = old.changed({"synthesis": changed, "teachers": teachers, "frozen_roles": frozen})
    except ValidationError as error:
        raise UsageError(f"the config of {path} does not fit scoring {mode.name}: {validation_text(error)}") from error
    domain = source.domain if different.prompt is None else _with_prompt(source.domain, mode, different.prompt)
    check_domain(config, domain)
    return config, domain


def _with_prompt(domain: Domain, mode: ScoringMode, path: Path) -> Domain:
    """Return the domain with the mode's prompt of the file's name replaced, or else with the mode's first one."""
    names = [file.name for file in mode.prompts]
    if not names:
        raise UsageError(f"scoring {mode.name} asks no judge, so it has no prompt: leave --prompt out")
    return with_prompt(domain, path.stem if path.stem in names else names[0], path)


@contextmanager
def reopen(run: Path, out: Path, different: Different, observer: Observer) -> Iterator[tuple[Session, Session]]:
    """Yield the run at `run`, which is only read, and the new one at `out`, made or resumed.

    Raises ConfigError when `out` holds a run with other settings, UsageError where `run` has nothing to be scored again.
    """
    if out.resolve() == run.resolve():
        raise UsageError(f"{run} stays as it is: name another directory with --out")
    with watch_session(run) as source:
        config, domain = settings_of(source, different)
        if not rounds_of(source):
            raise UsageError(f"{run} has no finished episode yet: continue with `pop run {run}` first")
        with open_session(out, config, observer, domain=domain) as session:
            if not session.journal.document_ids(1):
                documents = [source.journal.documents(round_) for round_ in range(config.rounds + 1)]
                session.journal.store_documents(documents, source.journal.corpus_drops(1))
            yield source, session


def rounds_of(session: Session) -> list[int]:
    """Return the rounds that have finished episodes."""
    return sorted({round_ for (round_, _, _), count in session.journal.tally.episodes.items() if count and round_ > 0})


def judge_again(source: Session, session: Session) -> None:
    """Score every finished episode of `source` anew in `session`. Those that the judge's server refused are asked again."""
    for round_ in rounds_of(source):
        again = ask_again(session.journal, round_)
        todo = sorted(source.journal.finished_episodes(round_) - session.journal.finished_episodes(round_))
        session.observer.phase(f"round {round_}: judging again", len(todo))
        if not todo:
            continue
        _note_players(source, session, round_)
        casting, policies = _casting(source, session, round_)
        with casting.account.timed(f"{round_}/synthesis"):
            casting.play(policies, partial(_judge_all, source=source.journal, todo=todo, round_=round_, again=again))


def _casting(source: Session, session: Session, round_: int) -> tuple[Casting, dict[Role, int]]:
    """Return who casts the judge, and role → round of its policy: nothing where the mode asks no judge.

    A model that the old run trained lies in the old run's directory.
    """
    mode = session.config.synthesis.mode
    if not mode.calls(2, reference=False, criteria=1, uses=session.domain.uses):
        return session.casting, {}
    policy = session.casting.policies(round_)[Role.JUDGE]
    if policy == 1 or Role.JUDGE in session.config.teachers:
        return session.casting, {Role.JUDGE: policy}
    directory = RunDirectory(source.directory.path, session.config)
    return Casting(directory, session.journal, session.domain, session.observer), {Role.JUDGE: policy}


def _note_players(source: Session, session: Session, round_: int) -> None:
    another = session.config.teachers.get(Role.JUDGE) != source.config.teachers.get(Role.JUDGE)
    for role in Role:
        noted = LINEAGE.read(source.journal, round_, role)
        if noted is not None and not (another and role is Role.JUDGE):
            LINEAGE.write(session.journal, noted, round_, role)
    if another:
        note_lineage(session, str(round_), {Role.JUDGE: 1})


async def _judge_all(cast: Cast, source: Journal, todo: Sequence[str], round_: int, again: frozenset[str]) -> None:
    cast.refusals.expect(again)
    waiting = iter(sorted(todo, key=lambda id_: id_ in again))

    async def work() -> None:
        for id_ in waiting:
            calls = source.calls(id_)
            asked = len({key.item for key, _ in calls if key.role == Role.SOLVER})  # fewer where it stopped early
            judged = await rate_again(cast, source.episode(round_, id_), asked=asked or None)
            cast.journal.record_calls(_taken_over(calls))
            cast.journal.record_episode(judged)

    await together(work() for _ in range(cast.episodes_at_once))
    cast.refusals.check(cast.journal)


def _taken_over(calls: Iterable[tuple[CallKey, StoredCall]]) -> Iterator[tuple[CallKey, StoredCall]]:
    """Yield the calls of all roles but the judge's, as calls that cost nothing."""
    for key, call in calls:
        if key.role != Role.JUDGE:
            free = replace(call.completion, prompt_tokens=0, generated_tokens=0, cached_tokens=0)
            yield key, call._replace(completion=free)


@dataclass
class _Round:
    """What became of the pairs of one round; each thing with the document that it belongs to."""

    compared: int = 0
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    order: list[tuple[float, str]] = field(default_factory=list)
    correlations: list[tuple[float, str]] = field(default_factory=list)
    changes: list[PairChange] = field(default_factory=list)

    def add(self, old: Episode, new: Episode, was: PreferencePair | Failure, now: PreferencePair | Failure) -> None:
        """Take in one episode as it was and as it is, with its pairs or why there are none."""
        self.compared += 1
        before, after = _indices(old, was), _indices(new, now)
        scores = scores_of(new.evaluations)
        correlation = spearman(*aligned(scores_of(old.evaluations), scores))
        if correlation is not None:
            self.correlations.append((correlation, old.document_id))
        in_order = None
        if before is not None and before[0] in scores and before[1] in scores:
            in_order = above(scores[before[0]], scores[before[1]])
            self.order.append((in_order, old.document_id))
        outcome = _outcome(before, after, in_order)
        if outcome is None:
            return
        self.outcomes.append((outcome, old.document_id))
        if outcome == "kept":
            return
        lost = next((f"{made.stage}.{made.reason}" for made in (now, was) if isinstance(made, Failure)), "")
        self.changes.append(
            PairChange(
                episode=old.id,
                outcome=outcome,
                chosen_before=None if before is None else before[0],
                rejected_before=None if before is None else before[1],
                chosen=None if after is None else after[0],
                rejected=None if after is None else after[1],
                reason=lost,
            )
        )

    def figures(self, round_: int) -> RejudgedRound:
        before = [(outcome, document) for outcome, document in self.outcomes if outcome != "new"]
        now = [(outcome, document) for outcome, document in self.outcomes if outcome != "dropped"]

        def share(name: str, of: list[tuple[str, str]]) -> PairShare:
            found = [float(outcome == name) for outcome, _ in of]
            mean = clustered_mean(found, [document for _, document in of], SHARES)
            return PairShare(pairs=round(sum(found)), share=ReportedEstimate.of(mean))

        return RejudgedRound(
            round=round_,
            compared=self.compared,
            pairs_before=len(before),
            pairs=len(now),
            kept=share("kept", before),
            replaced=share("replaced", before),
            flipped=share("flipped", before),
            dropped=share("dropped", before),
            new=share("new", now),
            order=ReportedEstimate.of(clustered_mean(*_columns(self.order), SHARES)),
            spearman=ReportedEstimate.of(clustered_mean(*_columns(self.correlations), SIGNED)),
        )


def _columns(found: Sequence[tuple[float, str]]) -> tuple[list[float], list[str]]:
    return [value for value, _ in found], [document for _, document in found]


def _indices(episode: Episode, made: PreferencePair | Failure) -> tuple[int, int] | None:
    """Return the numbers of the chosen and the rejected candidate, None where there is no pair."""
    if isinstance(made, Failure):
        return None
    numbers = {candidate.completion: candidate.index for candidate in reversed(episode.candidates)}
    return numbers[made.chosen[0].content], numbers[made.rejected[0].content]


def _outcome(
    before: tuple[int, int] | None, after: tuple[int, int] | None, in_order: float | None
) -> Outcome | Literal["kept"] | None:
    if before is None:
        return None if after is None else "new"
    if after is None:
        return "dropped"
    if after == before:
        return "kept"
    return "flipped" if in_order == 0 else "replaced"


def compare(source: Session, session: Session, different: Different) -> RejudgeResult:
    """Return which pairs of `source` change in `session`, of the episodes that both have."""
    rounds: dict[int, _Round] = {}
    known = {id_ for round_ in rounds_of(source) for id_ in source.journal.finished_episodes(round_)}
    before = paired(source.journal, source.config.rounds, source.domain, source.config.pairing, source.config.seed)
    for new, now in paired(session.journal, session.config.rounds, session.domain, session.config.pairing, session.config.seed):
        if new.id not in known:  # the old run plays it again
            continue
        old, was = next(pair for pair in before if pair[0].id == new.id)
        rounds.setdefault(new.round, _Round()).add(old, new, was, now)
    own = _called(source.config.player(Role.JUDGE))
    return RejudgeResult(
        run=str(source.directory.path),
        judge_before=own,
        judge=different.judge_name or own,
        scoring_before=source.config.synthesis.scoring,
        scoring=session.config.synthesis.scoring,
        prompt="" if different.prompt is None else str(different.prompt),
        by_round=tuple(found.figures(round_) for round_, found in rounds.items()),
        changes=tuple(change for found in rounds.values() for change in found.changes),
    )


def _called(model: ModelConfig) -> str:
    name = getattr(model, "model", None) or getattr(model, "path", None)
    return f"{model.type} {name}" if name else model.type


def planned(run: Path, out: Path, different: Different) -> Plan:
    """Return what rejudging `run` into `out` would still take. Nothing is written, and no model is asked.

    A sample of episodes is put to a judge that only counts. How much the real one writes is what the old one wrote per call
    where the mode is the same, else what the mode assumes.
    """
    with watch_session(run) as source:
        config, domain = settings_of(source, different)
        with Journal.open_to_read(out / "run.db") as done:
            left = [
                (round_, id_)
                for round_ in rounds_of(source)
                for id_ in source.journal.finished_episodes(round_) - done.finished_episodes(round_)
            ]
        sample = list(islice(sorted(left, key=lambda one: derive_seed("plan", one[1])), _SAMPLE))
        scale = len(left) / max(1, len(sample))
        asked, read = count_ratings(config, domain, [source.journal.episode(round_, id_) for round_, id_ in sample])
        wrote = _written(source) if config.synthesis.scoring == source.config.synthesis.scoring else 0.0
        each = wrote or config.synthesis.mode.tokens
        calls = round(scale * asked)
        judge = Planned(Role.JUDGE.value, calls, round(scale * read), 0, round(calls * each), 0.0)
        prices = prices_of(config.player(Role.JUDGE))
        judge = judge._replace(money=prices.money(judge.prompt, 0, judge.generated) if prices else 0.0)
        documents = len({id_.rpartition("/")[0] for _, id_ in left})
        lengths = f"{'as the run wrote' if wrote else 'assumed'}: {each:,.0f} tokens per call"
        assumed = (
            f"{lengths}; prompts counted on {len(sample):,} of {len(left):,} episodes; no call asked twice, no prefix cached"
        )
        return Plan(documents, documents, {}, (judge,), hours_of((judge,)), assumed)


def _written(source: Session) -> float:
    """Return how many tokens the judge of a run wrote per call; 0 where it was not asked."""
    tally = source.journal.tally
    calls = sum(count for (round_, role, _), count in tally.calls.items() if round_ and role == Role.JUDGE)
    return sum(n for round_, role, _, _, n in tally.tokens_by_role() if round_ and role == Role.JUDGE) / max(1, calls)
