"""Held-out, self-judged scores: a measure for any domain, where no exact truth is known.

The starting model plays whole episodes on documents that no round uses: its problems, rubrics and judgements stay fixed. Before
is the mean score of its own candidates; after is the mean score of the trained model's candidates on the same problems, under
the same rubrics, rated by the same judge. Scores are in [0, 2]. A judge that is the model itself cannot prove that the model
got better for anybody else, and the name says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pop_selfplay.config import SelfJudgedMeasure
from pop_selfplay.episode import play_all, rate, unfinished
from pop_selfplay.journal.notes import ProblemScores
from pop_selfplay.judging import by_itself
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.records import Episode, Evaluation, Failure
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import Change, Measure
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.solve import solve
from pop_selfplay.stats.intervals import clustered_mean, paired_difference
from pop_selfplay.tasks import together

HELD_OUT_ROUND: Final = 0


async def score_start(cast: Cast, config: SelfJudgedMeasure) -> ProblemScores:
    """Play the held-out documents with the starting model and return its mean score on each problem."""
    cast = _with_samples(cast, config)
    await play_all(cast, unfinished(cast.journal, 1, HELD_OUT_ROUND), HELD_OUT_ROUND)
    return {e.id: _mean(e.evaluations) for e in cast.journal.episodes(HELD_OUT_ROUND) if not e.failure}


async def score_trained(cast: Cast, label: str, config: SelfJudgedMeasure) -> ProblemScores:
    """Let `cast`'s solver, the trained model, answer the held-out problems; its judge is the starting model."""
    cast = _with_samples(cast, config)
    episodes = [episode for episode in cast.journal.episodes(HELD_OUT_ROUND) if not episode.failure]
    means = await together(_answer_again(cast, episode, label) for episode in episodes)
    return {e.id: mean for e, mean in zip(episodes, means, strict=True) if mean is not None}


def compare(before: ProblemScores, after: ProblemScores) -> Measure:
    """Return before, after and the paired gain over the problems that both could be scored on."""
    worst, best = SCORES
    both = [id_ for id_ in before if id_ in after]
    old, new = ([scores[id_] for id_ in both] for scores in (before, after))
    change = Change(
        before=ReportedEstimate.of(clustered_mean(old, both, SCORES)),
        after=ReportedEstimate.of(clustered_mean(new, both, SCORES)),
        gain=ReportedEstimate.of(paired_difference(old, new, both, (worst - best, best - worst))),
    )
    return {"held_out_self_judged": {"sampled": change}}


def _with_samples(cast: Cast, config: SelfJudgedMeasure) -> Cast:
    """Every answer is needed and rated by itself: a win rate within a group says nothing about the group's level."""
    changes = {
        "candidates": config.samples,
        "early_stop": None,
        "score_reference": False,
        "scoring": by_itself(cast.synthesis.mode).name,
    }
    return replace(cast, synthesis=cast.synthesis.changed(changes))


async def _answer_again(cast: Cast, episode: Episode, label: str) -> float | None:
    assert episode.problem is not None  # the episode did not fail
    problem = episode.problem.model_copy(update={"id": f"measure/{label}/{episode.id}"})
    candidates = await solve(cast, problem, HELD_OUT_ROUND)
    if isinstance(candidates, Failure):
        return None
    evaluations = await rate(cast, problem, episode.rubric, candidates, HELD_OUT_ROUND)
    return None if isinstance(evaluations, Failure) else _mean(evaluations)


def _mean(evaluations: Sequence[Evaluation]) -> float:
    return sum(evaluation.score for evaluation in evaluations) / len(evaluations)
