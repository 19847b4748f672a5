"""Preference pairs: the best of a group against its worst (method, "Episodes to preference pairs").

    pairs_of           all pairs of a run, as pairs.parquet holds them
    paired             each finished episode with its pair, or why it gives none
    paired_problems    each document with its pair of problems, to train the proposer (beyond the paper)
    pair_of            one episode taken by itself

Only the extremes are used because they agree with a stronger judge far more often than the full ranking does (paper, 5.5).
Reasons for no pair: `no_spread` (all scores alike), `length_gap` (guard against length bias), `identical` (same completion
twice), `too_hard`, `too_easy`, `narrow` (off the solver's frontier), `reference_below_median`, `near_duplicate_problem`.

A pair of problems is the proposer's own conversation about a document with the two completions that wrote the problems; the one
whose scores spread more is preferred, because a problem that every answer solves, or none, teaches the solver nothing. What
ended without scores has no spread and is in no pair, whoever was to blame. The paper's proposer learns only by being the same
model as the solver. The next rule of pairing goes here, its setting into `config/synthesis.py`.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pop_selfplay.config import Pairing, RunConfig, Synthesis
from pop_selfplay.domains import Domain
from pop_selfplay.episode import episode_id
from pop_selfplay.journal import Journal
from pop_selfplay.method.problems import ProblemClusters, below_median
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.records import Candidate, Episode, Evaluation, Failure, Message, PreferencePair, Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.propose import proposer_prompt
from pop_selfplay.text.words import count_words

_, BEST_SCORE = SCORES


class Extremes(NamedTuple):
    """The two ends of a group, with their scores in [0, 2]."""

    chosen: Candidate
    rejected: Candidate
    chosen_score: float
    rejected_score: float


def pick_extremes(
    candidates: Sequence[Candidate],
    evaluations: Sequence[Evaluation],
    *,
    min_std: float,
    max_word_difference: int | None,
    seed: int,
) -> Extremes | Failure:
    """Return the best and the worst scored candidate, or why the problem gives no pair.

    Ties are broken by a hash of `seed` and the candidate's text, never by position. `min_std` is compared with the population
    standard deviation of the scores, `max_word_difference` with the difference in words of the two whole completions.
    """
    by_index = {candidate.index: candidate for candidate in candidates}
    scores = [evaluation.score for evaluation in evaluations]
    if len(scores) < 2 or statistics.pstdev(scores) < min_std:
        return Failure(stage="pair", reason="no_spread", detail=f"scores {sorted(scores)!r:.200}")

    def pick(wanted: float, end: str) -> Candidate:
        tied = [by_index[evaluation.candidate] for evaluation in evaluations if evaluation.score == wanted]
        return min(tied, key=lambda candidate: (derive_seed(seed, end, candidate.completion), candidate.index))

    chosen, rejected = pick(max(scores), "chosen"), pick(min(scores), "rejected")
    unfit = unfit_pair(chosen.completion, rejected.completion, max_word_difference)
    return unfit or Extremes(chosen, rejected, max(scores), min(scores))


def unfit_pair(chosen: str, rejected: str, max_word_difference: int | None) -> Failure | None:
    """Return why two whole completions must not be a pair: they are the same, or too many words apart. None where they may."""
    if chosen == rejected:
        return Failure(stage="pair", reason="identical", detail="best and worst are the same completion")
    difference = abs(count_words(chosen) - count_words(rejected))
    if max_word_difference is not None and difference > max_word_difference:
        return Failure(stage="pair", reason="length_gap", detail=f"{difference} words apart")
    return None


def spread_of(evaluations: Sequence[Evaluation]) -> float:
    """Return the population standard deviation of the normalised scores (at least one), in [0, 0.5]."""
    return statistics.pstdev(evaluation.score / BEST_SCORE for evaluation in evaluations)


def off_frontier(evaluations: Sequence[Evaluation], *, min_mean: float, max_mean: float, min_std: float) -> Failure | None:
    """Return why a problem with these evaluations (at least one) is not at the solver's frontier, None where it is.

    Scores are normalised to [0, 1]: a smaller mean than `min_mean` is too hard, a larger one than `max_mean` too easy, a
    smaller standard deviation than `min_std` too narrow.
    """
    mean = statistics.fmean(evaluation.score / BEST_SCORE for evaluation in evaluations)
    if mean < min_mean:
        return Failure(stage="pair", reason="too_hard", detail=f"the mean of its scores is {mean:.3f} of the best")
    if mean > max_mean:
        return Failure(stage="pair", reason="too_easy", detail=f"the mean of its scores is {mean:.3f} of the best")
    if (std := spread_of(evaluations)) < min_std:
        return Failure(stage="pair", reason="narrow", detail=f"its scores vary by {std:.3f} of the best")
    return None


class Problems(NamedTuple):
    """Two problems of one document, by id, the one with the larger spread chosen. Spreads are in [0, 0.5]."""

    chosen: str
    rejected: str
    chosen_spread: float
    rejected_spread: float


def pick_problems(spreads: Mapping[str, float], *, min_gap: float, seed: int) -> Problems | Failure:
    """Return the problems of one document whose scores spread most and least, or why there is no such pair.

    `spreads` holds only problems that were scored: one that failed has no spread, and is neither better nor worse. Ties are
    broken by a hash of `seed` and the id.
    """
    if len(spreads) < 2:
        return Failure(stage="pair", reason="too_few_problems", detail=f"{len(spreads)} of its problems were scored")

    def pick(wanted: float, end: str) -> str:
        return min(
            (id_ for id_, spread in spreads.items() if spread == wanted), key=lambda id_: (derive_seed(seed, end, id_), id_)
        )

    most, least = max(spreads.values()), min(spreads.values())
    if most - least < min_gap:
        return Failure(stage="pair", reason="spread_alike", detail=f"spreads from {least:.3f} to {most:.3f}")
    return Problems(pick(most, "chosen"), pick(least, "rejected"), most, least)


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


def paired(
    journal: Journal, rounds: int, domain: Domain, rules: Pairing, seed: int
) -> Iterator[tuple[Episode, PreferencePair | Failure]]:
    """Yield every finished episode of rounds 1 to `rounds` with its preference pair, or why it gives none.

    Of the problems that would give a pair and nearly repeat each other, one does (method/problems.py). So the episodes of
    a round are read twice: first to find the clusters, then to yield, and no more than one is held at a time.
    """
    clusters = problem_clusters(domain, rules)
    for round_ in range(1, rounds + 1):
        repeats = {} if clusters is None else _repeats(journal, round_, domain, rules, seed, clusters)
        for episode in journal.episodes(round_):
            made = pair_of(episode, domain, rules, seed)
            if isinstance(made, PreferencePair) and episode.id in repeats:
                detail = f"nearly repeats the problem of {repeats[episode.id]}"
                yield episode, Failure(stage="pair", reason="near_duplicate_problem", detail=detail)
            else:
                yield episode, made


def _repeats(
    journal: Journal, round_: int, domain: Domain, rules: Pairing, seed: int, clusters: ProblemClusters
) -> dict[str, str]:
    """Read every finished episode of a round once, and return which pairs are not to be: id → the id it nearly repeats.

    `clusters` hold the problems of the rounds before, and of this one afterwards.
    """
    problems = {}
    for episode in journal.episodes(round_):
        if episode.problem and isinstance(pair_of(episode, domain, rules, seed), PreferencePair):
            problems[episode.id] = episode.problem.text
    return clusters.add_round(problems)


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


def with_provenance(journal: Journal, pair: PreferencePair) -> PreferencePair:
    """Return `pair` with what its document says of its licence and where it comes from."""
    document = journal.document(pair.round, pair.document_id)
    said = {"license": document.license, "url": document.url, "source": document.origin}
    return pair.model_copy(update=said) if any(said.values()) else pair


def pairs_of(journal: Journal, domain: Domain, config: RunConfig, rounds: int) -> Iterator[PreferencePair]:
    """Yield the preference pairs of all finished episodes of rounds 1 to `rounds`: the solver's, then the proposer's."""
    solver = paired(journal, rounds, domain, config.pairing, config.seed)
    proposer = paired_problems(journal, range(1, rounds + 1), domain, config.synthesis, config.pairing, config.seed)
    yield from (with_provenance(journal, made) for _, made in chain(solver, proposer) if isinstance(made, PreferencePair))
