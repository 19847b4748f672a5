"""Rate: the judge scores the candidates of a problem by its rubric, without the document (method, "score").

| scoring | asked | file |
| --- | --- | --- |
| pointwise | once per candidate, for 0, 1 or 2 on each criterion | here |
| per_criterion | once per candidate and criterion: more calls, so simple that even a very small judge gets it right | here |
| logprob | once per candidate (or criterion), for ratings without thoughts, read off the tokens' probabilities | expect.py |
| pairwise, anchor | two answers at a time, in both orders | compare.py |
| verify | nobody: the boxed answer is compared with the reference's | method/answers.py |

When the judge fails, the candidate has no score; it never gets a low one for it. docs/scoring.md compares the modes.
"""

import json
from collections.abc import Coroutine, Sequence
from typing import Any

from pop_selfplay.method.answers import same_final_answer
from pop_selfplay.method.parsing import parse_evaluation
from pop_selfplay.method.schemas import evaluation_schema
from pop_selfplay.method.scoring import mean_ratings, score
from pop_selfplay.records import REFERENCE, Candidate, Criterion, Evaluation, Failure, Problem, Rating, Role, Rubric
from pop_selfplay.stages.calls import Cast, Question, ask, voted
from pop_selfplay.stages.compare import Match, anchor, pairwise
from pop_selfplay.stages.expect import PROMPT, expect, one_by_one
from pop_selfplay.tasks import together

_Ratings = tuple[Rating, ...] | Failure


async def rate(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    candidates: Sequence[Candidate],
    round_: int,
    *,
    asked: int | None = None,
) -> tuple[Evaluation, ...] | Failure:
    """Return an evaluation for every candidate that the judge managed to score. `rubric` is None only for `verify`.

    Fewer than `min_valid_share` of the candidates `asked` for (by default `synthesis.candidates`), or fewer than 2, make a
    Failure.
    """
    outcomes = await rate_each(cast, problem, rubric, candidates, candidates, round_)
    evaluations = tuple(outcome for outcome in outcomes if isinstance(outcome, Evaluation))
    wanted = cast.synthesis.candidates if asked is None else asked
    if len(evaluations) < max(2, cast.synthesis.min_valid_share * wanted):
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


async def rate_each(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    judged: Sequence[Candidate],
    group: Sequence[Candidate],
    round_: int,
) -> list[Evaluation | Failure]:
    """Return for each of `judged` its evaluation, or why it has none. The modes that compare do so with `group`."""
    mode = cast.synthesis.scoring
    if mode == "verify":
        return [_verify(problem, candidate) for candidate in judged]
    assert rubric is not None  # every other mode judges by one
    if mode == "pairwise" or mode == "anchor":
        match = Match(cast, problem, rubric_json(rubric), round_)
        return await (pairwise if mode == "pairwise" else anchor)(match, judged, group)
    return await _pointwise(cast, problem, rubric, judged, round_)


def _verify(problem: Problem, candidate: Candidate) -> Evaluation:
    right = same_final_answer(candidate.answer, problem.reference_answer)
    return Evaluation(candidate=candidate.index, score=2.0 if right else 0.0)


async def _pointwise(
    cast: Cast, problem: Problem, rubric: Rubric, candidates: Sequence[Candidate], round_: int
) -> list[Evaluation | Failure]:
    """Evaluate each candidate by itself. With `share_identical`, candidates with the same answer share one evaluation."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(_likeness(cast, candidate), candidate)
    outcomes = await together(_evaluate(cast, problem, rubric, candidate, round_) for candidate in first.values())
    by_likeness = dict(zip(first, outcomes, strict=True))
    return [_as_of(by_likeness[_likeness(cast, candidate)], candidate) for candidate in candidates]


def _likeness(cast: Cast, candidate: Candidate) -> str:
    return candidate.answer if cast.synthesis.share_identical else str(candidate.index)


def _as_of(outcome: Evaluation | Failure, candidate: Candidate) -> Evaluation | Failure:
    return outcome if isinstance(outcome, Failure) else outcome.model_copy(update={"candidate": candidate.index})


async def _evaluate(cast: Cast, problem: Problem, rubric: Rubric, candidate: Candidate, round_: int) -> Evaluation | Failure:
    """Return the mean of the candidate's valid votes, or the last failure where there is none."""
    votes = await together(_vote(cast, problem, rubric, candidate, round_, vote) for vote in range(cast.synthesis.votes))
    valid = [vote for vote in votes if not isinstance(vote, Failure)]
    if not valid:
        return next(vote for vote in reversed(votes) if isinstance(vote, Failure))
    ratings = mean_ratings(valid)
    return Evaluation(candidate=candidate.index, ratings=ratings, score=score(rubric, ratings))


async def _vote(cast: Cast, problem: Problem, rubric: Rubric, candidate: Candidate, round_: int, vote: int) -> _Ratings:
    """Return one rating for each criterion of the rubric."""

    def asking(criteria: Sequence[Criterion], item: str, prompt: str, **values: str) -> Coroutine[Any, Any, _Ratings]:
        messages = cast.domain.render(prompt, problem=problem.text, answer=candidate.answer, **values)
        return _ratings(cast, Question(round_, problem.id, Role.JUDGE, voted(item, vote), messages), criteria)

    index, mode = candidate.index, cast.synthesis.scoring
    if mode == "per_criterion" or (mode == "logprob" and one_by_one(cast.domain)):
        prompt = "rate_criterion" if mode == "per_criterion" else PROMPT
        asked = [
            asking((criterion,), f"{index}.{n}", prompt, criterion=criterion_json(criterion))
            for n, criterion in enumerate(rubric.criteria)
        ]
    else:
        asked = [asking(rubric.criteria, str(index), PROMPT if mode == "logprob" else "rate", rubric=rubric_json(rubric))]
    outcomes = await together(asked)
    ratings: list[Rating] = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            return outcome
        ratings.extend(outcome)
    return tuple(ratings)


async def _ratings(cast: Cast, question: Question, criteria: Sequence[Criterion]) -> _Ratings:
    if cast.synthesis.scoring == "logprob":
        return await expect(cast, question, criteria)
    bare = cast.synthesis.json_schema
    if bare:
        question = question._replace(schema=evaluation_schema(criteria))
    return await ask(cast, question, lambda completion: parse_evaluation(completion, criteria, bare=bare))


def rubric_json(rubric: Rubric) -> str:
    """Return the rubric as the judge reads it: one numbered object per criterion."""
    numbered = {f"criterion_{n}": _plain(criterion) for n, criterion in enumerate(rubric.criteria, 1)}
    return json.dumps(numbered, ensure_ascii=False, indent=2)


def criterion_json(criterion: Criterion) -> str:
    """Return one criterion as the judge reads it when asked for it alone, on one line."""
    return json.dumps(_plain(criterion), ensure_ascii=False, separators=(",", ":"))


def _plain(criterion: Criterion) -> dict[str, Any]:
    weight = int(criterion.weight) if criterion.weight.is_integer() else criterion.weight
    return {
        "name": criterion.name,
        "description": criterion.description,
        "weight": weight,
        "gold": criterion.gold,
    }
