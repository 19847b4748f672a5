"""One document → one episode: propose, solve, write the rubric, rate. Many of them at once, and the pair each one gives.

    document ──propose──▶ problem, reference answer
    problem  ──solve────▶ candidates                      (no document)
    document, problem, reference answer, some candidates ──write rubric──▶ rubric
    problem, rubric, candidate ──rate──▶ evaluation, score (no document)
    scored candidates ──pair──▶ best against worst

An episode is pure but for its model calls, and every call is in the journal: playing it again after a kill repeats none.
"""

from collections.abc import Iterable, Iterator

from pop_selfplay.config import Pairing
from pop_selfplay.core.pairing import pick_extremes
from pop_selfplay.domains import Domain
from pop_selfplay.journal import Journal
from pop_selfplay.records import Document, Episode, Failure, Message, PreferencePair
from pop_selfplay.stages.asking import Cast, together
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.rate import rate
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric


def episode_id(round_: int, document: Document, number: int) -> str:
    """Return the id of the `number`-th problem of `document` in `round_`; it is the problem's id, too."""
    return f"{round_}/{document.id}/{number}"


async def play(cast: Cast, document: Document, round_: int, id_: str) -> Episode:
    """Play one episode to its end: scored candidates, or the failure that ended it."""
    episode = Episode(id=id_, round=round_, document_id=document.id)
    problem = await propose(cast, document, round_, id_)
    if isinstance(problem, Failure):
        return episode.model_copy(update={"failure": problem})
    episode = episode.model_copy(update={"problem": problem})
    candidates = await solve(cast, problem, round_)
    if isinstance(candidates, Failure):
        return episode.model_copy(update={"failure": candidates})
    episode = episode.model_copy(update={"candidates": candidates})
    rubric = await write_rubric(cast, document, problem, candidates, round_)
    if isinstance(rubric, Failure):
        return episode.model_copy(update={"failure": rubric})
    episode = episode.model_copy(update={"rubric": rubric})
    evaluations = await rate(cast, problem, rubric, candidates, round_)
    if isinstance(evaluations, Failure):
        return episode.model_copy(update={"failure": evaluations})
    return episode.model_copy(update={"evaluations": evaluations})


def unfinished(
    journal: Journal, documents: Iterable[Document], problems_per_document: int, round_: int
) -> Iterator[tuple[Document, str]]:
    """Yield the document and id of every episode of the round that the journal does not hold as finished."""
    finished = journal.finished_episodes(round_)
    for document in documents:
        for number in range(problems_per_document):
            id_ = episode_id(round_, document, number)
            if id_ not in finished:
                yield document, id_


async def play_all(cast: Cast, todo: Iterable[tuple[Document, str]], round_: int) -> None:
    """Play the episodes of `todo`, `episodes_in_flight` at a time, and put each one into the journal when it is done."""
    waiting = iter(todo)

    async def work() -> None:
        for document, id_ in waiting:
            cast.journal.record_episode(await play(cast, document, round_, id_))

    await together(work() for _ in range(cast.synthesis.episodes_in_flight))


def pair_of(episode: Episode, domain: Domain, rules: Pairing, seed: int) -> PreferencePair | Failure:
    """Return the preference pair of a finished episode: the solver's conversation with its best and worst completion."""
    if episode.failure is not None:
        return episode.failure
    assert episode.problem is not None  # the episode did not fail
    extremes = pick_extremes(
        episode.candidates,
        episode.evaluations,
        min_std=rules.min_std,
        max_word_difference=rules.max_word_difference,
        seed=seed,
    )
    if isinstance(extremes, Failure):
        return extremes
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
