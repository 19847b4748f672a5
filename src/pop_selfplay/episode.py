"""One document → one episode: propose, solve, write the rubric, rate. Many of them at once, and the pair each one gives.

    document ──propose──▶ problem, reference answer
    problem  ──solve────▶ candidates                      (no document)
    document, problem, reference answer, some candidates ──write rubric──▶ rubric
    problem, rubric, candidate ──rate──▶ evaluation, score (no document)
    scored candidates ──pair──▶ best against worst            (pairing.py, method/problems.py)

An episode is pure but for its model calls, and every call is in the journal: playing it again after a kill repeats none.

To follow one that is scored pointwise, from the main loop to its pair:

    selfplay.py             synthesise, pair
    episode.py              play_all, play, rate
    stages/propose.py       propose
    stages/solve.py         solve
    stages/write_rubric.py  write_rubric
    judging/rating.py       Pointwise
    pairing.py              pairs_of, pair_of
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pop_selfplay.journal import Journal
from pop_selfplay.method.answers import same_final_answer
from pop_selfplay.records import REFERENCE, Candidate, Document, Episode, Evaluation, Failure, Problem, Role, Rubric
from pop_selfplay.stages.calls import Cast, server_failure
from pop_selfplay.stages.judge import judge_of
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric
from pop_selfplay.tasks import together


def episode_id(round_: int, document_id: str, number: int) -> str:
    """Return the id of the `number`-th problem of a document in `round_`; it is the problem's id, too."""
    return f"{round_}/{document_id}/{number}"


async def play(cast: Cast, document: Document, round_: int, id_: str) -> Episode:
    """Play one episode to its end: scored candidates, or the failure that ended it."""
    episode = Episode(id=id_, round=round_, document_id=document.id)
    problem = await propose(cast, document, round_, id_)
    if isinstance(problem, Failure):
        return episode.model_copy(update={"failure": problem})
    episode = episode.model_copy(update={"problem": problem})
    first = cast.synthesis.candidates_at_once
    candidates = await solve(cast, problem, round_, range(first))
    if isinstance(candidates, Failure):
        return episode.model_copy(update={"failure": candidates})
    episode = episode.model_copy(update={"candidates": candidates})
    rubric = None
    if cast.synthesis.mode.needs_rubric:
        written = await write_rubric(cast, document, problem, candidates, round_)
        if isinstance(written, Failure):
            return episode.model_copy(update={"failure": written})
        rubric = written
    episode = episode.model_copy(update={"rubric": rubric})
    evaluations = await rate(cast, problem, rubric, candidates, round_, asked=first)
    if isinstance(evaluations, Failure):
        return episode.model_copy(update={"failure": evaluations})
    candidates, evaluations = await _until_apart(cast, problem, rubric, candidates, evaluations, round_)
    episode = episode.model_copy(update={"candidates": candidates, "evaluations": evaluations})
    if rubric is None or not cast.synthesis.score_reference:
        return episode
    reference = await rate_reference(cast, problem, rubric, candidates, round_)
    return episode.model_copy(update={"reference_evaluation": reference})


async def _until_apart(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    candidates: tuple[Candidate, ...],
    evaluations: tuple[Evaluation, ...],
    round_: int,
) -> tuple[tuple[Candidate, ...], tuple[Evaluation, ...]]:
    """Solve and rate more candidates by the same rubric while best and worst don't stand apart. A part that fails adds none."""
    wanted, step = cast.synthesis.candidates, cast.synthesis.candidates_at_once
    for start in range(step, wanted, step):
        scores = [evaluation.score for evaluation in evaluations]
        assert cast.synthesis.early_stop is not None  # else the first step takes all
        if max(scores) - min(scores) >= cast.synthesis.early_stop.gap:
            break
        indices = range(start, min(start + step, wanted))
        more = await solve(cast, problem, round_, indices)
        if isinstance(more, Failure):
            continue
        candidates = (*candidates, *more)
        # All are rated together, so that identical answers share; what was rated before is in the journal and not asked again.
        rated = await rate(cast, problem, rubric, candidates, round_, asked=len(candidates))
        evaluations = evaluations if isinstance(rated, Failure) else rated
    return candidates, evaluations


async def rate(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    candidates: Sequence[Candidate],
    round_: int,
    *,
    asked: int | None = None,
) -> tuple[Evaluation, ...] | Failure:
    """Return an evaluation for every candidate that the judge managed to score. `rubric` is None where the mode needs none.

    Fewer than `min_valid_share` of the candidates `asked` for (by default `synthesis.candidates`), or fewer than 2, make a
    Failure.
    """
    outcomes = await rate_each(cast, problem, rubric, candidates, candidates, round_)
    evaluations = tuple(outcome for outcome in outcomes if isinstance(outcome, Evaluation))
    wanted = cast.synthesis.candidates if asked is None else asked
    least = max(2, cast.synthesis.min_valid_share * wanted)
    if len(evaluations) < least:
        if refused := server_failure(Role.JUDGE, outcomes, least - len(evaluations)):
            return refused
        last = next((outcome for outcome in reversed(outcomes) if isinstance(outcome, Failure)), None)
        detail = f"{len(evaluations)} of {len(candidates)} candidates scored; the last failure: {last}"
        return Failure(stage=Role.JUDGE.value, reason="too_few_scored", detail=detail)
    if not cast.domain.boxed:
        return evaluations
    answers = {candidate.index: candidate.answer for candidate in candidates}
    return tuple(
        evaluation.model_copy(update={"verified": same_final_answer(answers[evaluation.candidate], problem.reference_answer)})
        for evaluation in evaluations
    )


async def rate_reference(
    cast: Cast, problem: Problem, rubric: Rubric, candidates: Sequence[Candidate], round_: int
) -> Evaluation | None:
    """Return the evaluation of the reference answer by the same rubric, as of candidate −1; None where the judge failed.

    In the modes that compare it is compared with the candidates; their own scores do not change by it.
    """
    answer = problem.reference_answer
    reference = Candidate(index=REFERENCE, completion=answer, answer=answer)
    (outcome,) = await rate_each(cast, problem, rubric, [reference], candidates, round_)
    return outcome if isinstance(outcome, Evaluation) else None


async def rate_again(cast: Cast, episode: Episode, *, asked: int | None = None) -> Episode:
    """Return a finished episode with its answers rated by this cast; one that never came to its judge stays as it is.

    Nothing else of it changes, but that a rubric goes which the mode of the cast does not need. `asked` is how many candidates
    were asked for, fewer than `synthesis.candidates` where best and worst stood apart early.
    """
    needs_rubric = cast.synthesis.mode.needs_rubric
    problem, rubric = episode.problem, episode.rubric if needs_rubric else None
    if problem is None or not episode.candidates or (needs_rubric and rubric is None):
        return episode
    rated = await rate(cast, problem, rubric, episode.candidates, episode.round, asked=asked)
    failed = isinstance(rated, Failure)
    reference = None
    if rubric is not None and cast.synthesis.score_reference and not failed:
        reference = await rate_reference(cast, problem, rubric, episode.candidates, episode.round)
    return episode.model_copy(
        update={
            "rubric": rubric,
            "evaluations": () if failed else rated,
            "reference_evaluation": reference,
            "failure": rated if failed else None,
        }
    )


async def rate_each(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    judged: Sequence[Candidate],
    group: Sequence[Candidate],
    round_: int,
) -> list[Evaluation | Failure]:
    """Return for each of `judged` its evaluation, or why it has none. The modes that compare do so with `group`."""
    return await cast.synthesis.mode.score(judge_of(cast, problem, round_), problem, rubric, judged, group)


class ToPlay(NamedTuple):
    """An episode that is not finished: its document's id, and its own."""

    document_id: str
    id: str


def unfinished(journal: Journal, problems_per_document: int, round_: int) -> list[ToPlay]:
    """Return every episode of the round that the journal does not hold as finished, in the order of the documents.

    Only ids are read, so that planning what is left of a hundred thousand episodes takes a moment.
    """
    finished = journal.finished_episodes(round_)
    return [
        ToPlay(document_id, id_)
        for document_id in journal.document_ids(round_)
        for number in range(problems_per_document)
        if (id_ := episode_id(round_, document_id, number)) not in finished
    ]


async def play_all(
    cast: Cast,
    todo: Iterable[ToPlay],
    round_: int,
    *,
    refused_before: frozenset[str] = frozenset(),
    see: Callable[[Episode], object] = lambda episode: None,
) -> None:
    """Play the episodes of `todo`, `cast.episodes_at_once` at a time, and put each one into the journal when it is done.

    Those `refused_before` come last. `see` is shown each one that is in the journal. Raises ModelRefused or ModelUnavailable
    when refused calls leave nothing else to say.
    """
    cast.refusals.expect(refused_before)
    waiting = iter(sorted(todo, key=lambda one: one.id in refused_before))

    async def work() -> None:
        for document_id, id_ in waiting:
            document = cast.journal.document(round_, document_id)
            episode = await play(cast, document, round_, id_)
            cast.journal.record_episode(episode)
            see(episode)

    await together(work() for _ in range(cast.episodes_at_once))
    cast.refusals.check(cast.journal)
