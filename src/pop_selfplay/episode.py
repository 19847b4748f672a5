"""One document → one episode: propose, solve, write the rubric, rate. Many of them at once, and the pair each one gives.

    document ──propose──▶ problem, reference answer
    problem  ──solve────▶ candidates                      (no document)
    document, problem, reference answer, some candidates ──write rubric──▶ rubric
    problem, rubric, candidate ──rate──▶ evaluation, score (no document)
    scored candidates ──pair──▶ best against worst            (core/pairing.py, core/problem_clusters.py)

An episode is pure but for its model calls, and every call is in the journal: playing it again after a kill repeats none.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pop_selfplay.config import Pairing
from pop_selfplay.core.pairing import off_frontier, pick_extremes
from pop_selfplay.core.problem_clusters import ProblemClusters
from pop_selfplay.core.quality import below_median
from pop_selfplay.domains import Domain
from pop_selfplay.journal import Journal
from pop_selfplay.records import (
    Candidate,
    Document,
    Episode,
    Evaluation,
    Failure,
    Message,
    PreferencePair,
    Problem,
    Rubric,
)
from pop_selfplay.stages.asking import Cast, together
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.rate import rate, rate_reference
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric


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
    if cast.synthesis.scoring != "verify":
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


async def play_all(cast: Cast, todo: Iterable[ToPlay], round_: int) -> None:
    """Play the episodes of `todo`, `cast.episodes_at_once` at a time, and put each one into the journal when it is done."""
    waiting = iter(todo)

    async def work() -> None:
        for document_id, id_ in waiting:
            document = cast.journal.document(round_, document_id)
            cast.journal.record_episode(await play(cast, document, round_, id_))

    await together(work() for _ in range(cast.episodes_at_once))


def paired(
    journal: Journal, rounds: int, domain: Domain, rules: Pairing, seed: int
) -> Iterator[tuple[Episode, PreferencePair | Failure]]:
    """Yield every finished episode of rounds 1 to `rounds` with its preference pair, or why it gives none.

    Of the problems that would give a pair and nearly repeat each other, one does (core/problem_clusters.py). So the episodes of
    a round are read twice: first to find the clusters, then to yield, and no more than one is held at a time.
    """
    clusters = problem_clusters(domain, rules)
    for round_ in range(1, rounds + 1):
        repeats = {}
        if clusters is not None:
            repeats = clusters.add_round(
                {
                    episode.id: episode.problem.text
                    for episode in journal.episodes(round_)
                    if episode.problem and isinstance(pair_of(episode, domain, rules, seed), PreferencePair)
                }
            )
        for episode in journal.episodes(round_):
            made = pair_of(episode, domain, rules, seed)
            if isinstance(made, PreferencePair) and episode.id in repeats:
                detail = f"nearly repeats the problem of {repeats[episode.id]}"
                yield episode, Failure(stage="pair", reason="near_duplicate_problem", detail=detail)
            else:
                yield episode, made


def problem_clusters(domain: Domain, rules: Pairing) -> ProblemClusters | None:
    """Return what finds the problems of a run that nearly repeat each other, None where nobody looks for them."""
    threshold = rules.near_duplicate_problems if domain.problem_checks else None
    return None if threshold is None else ProblemClusters(threshold)


def pair_of(episode: Episode, domain: Domain, rules: Pairing, seed: int) -> PreferencePair | Failure:
    """Return the pair of a finished episode taken by itself: the solver's conversation with its best and worst completion."""
    if episode.failure is not None:
        return episode.failure
    assert episode.problem is not None  # the episode did not fail
    if rules.frontier is not None:
        band = rules.frontier
        beyond = off_frontier(episode.evaluations, min_mean=band.min_mean, max_mean=band.max_mean, min_std=band.min_std)
        if beyond is not None:
            return beyond
    extremes = pick_extremes(
        episode.candidates,
        episode.evaluations,
        min_std=rules.min_std,
        max_word_difference=rules.max_word_difference,
        seed=seed,
    )
    if isinstance(extremes, Failure):
        return extremes
    reference = episode.reference_evaluation
    if rules.reference_below_median == "drop" and reference is not None and below_median(reference, episode.evaluations):
        detail = f"the reference answer scores {reference.score:.3f}, less than the median candidate"
        return Failure(stage="pair", reason="reference_below_median", detail=detail)
    return PreferencePair(
        prompt=domain.render("solve", problem=episode.problem.text),
        chosen=(Message(role="assistant", content=extremes.chosen.completion),),
        rejected=(Message(role="assistant", content=extremes.rejected.completion),),
        chosen_score=extremes.chosen_score,
        rejected_score=extremes.rejected_score,
        reference_answer=episode.problem.reference_answer,
        document_id=episode.document_id,
        problem_id=episode.problem.id,
        round=episode.round,
    )
