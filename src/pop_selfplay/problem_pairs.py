"""Preference pairs for the proposer: of the problems made from one document, the one whose scores spread more is preferred.

A problem that every answer solves, or none, teaches the solver nothing; one that tells good answers from bad ones does. So the
pair is the proposer's own conversation about the document with the two completions that wrote the problems. What ended without
scores has no spread and is in no pair, whoever was to blame. Which two problems, and why none, is in `core/pairing.py`.

Not in the paper, whose proposer learns only by being the same model as the solver.
"""

from collections.abc import Iterator

from pop_selfplay.config import Pairing, Synthesis
from pop_selfplay.core.pairing import pick_problems, spread_of, unfit_pair
from pop_selfplay.domains import Domain
from pop_selfplay.episode import episode_id
from pop_selfplay.journal import Journal
from pop_selfplay.records import Episode, Failure, Message, PreferencePair, Role
from pop_selfplay.stages.propose import proposer_prompt


def paired_problems(
    journal: Journal, rounds: range, domain: Domain, synthesis: Synthesis, rules: Pairing, seed: int
) -> Iterator[tuple[int, PreferencePair | Failure]]:
    """Yield, for every document with a finished episode, its round and its pair of problems, or why it gives none.

    Nothing at all where `rules` ask for no such pairs.
    """
    if rules.proposer is None:
        return
    for round_ in rounds:
        finished = journal.finished_episodes(round_)
        for document_id in journal.document_ids(round_):
            ids = [episode_id(round_, document_id, number) for number in range(synthesis.problems_per_document)]
            episodes = [journal.episode(round_, id_) for id_ in ids if id_ in finished]
            if episodes:
                yield round_, _pair(journal, episodes, domain, synthesis, rules, seed)


def _pair(
    journal: Journal, episodes: list[Episode], domain: Domain, synthesis: Synthesis, rules: Pairing, seed: int
) -> PreferencePair | Failure:
    assert rules.proposer is not None  # paired_problems has seen to it
    scored = {episode.id: episode for episode in episodes if not episode.failure}
    spreads = {id_: spread_of(episode.evaluations) for id_, episode in scored.items()}
    picked = pick_problems(spreads, min_gap=rules.proposer.min_gap, seed=seed)
    if isinstance(picked, Failure):
        return picked
    chosen = scored[picked.chosen]
    assert chosen.problem is not None  # it was scored
    better, worse = journal.proposal(picked.chosen), journal.proposal(picked.rejected)
    if unfit := unfit_pair(better, worse, rules.max_word_difference):
        return unfit
    document = journal.document(chosen.round, chosen.document_id)
    return PreferencePair(
        prompt=proposer_prompt(domain, document, shown=Role.PROPOSER in synthesis.document_for),
        chosen=(Message(role="assistant", content=better),),
        rejected=(Message(role="assistant", content=worse),),
        chosen_score=picked.chosen_spread,
        rejected_score=picked.rejected_spread,
        reference_answer=chosen.problem.reference_answer,
        document_id=chosen.document_id,
        problem_id=chosen.id,
        round=chosen.round,
        role="proposer",
    )
