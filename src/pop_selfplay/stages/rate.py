"""Rate: the judge gives each criterion of the rubric 0, 1 or 2, without the document (method, "score").

`pointwise` asks once per candidate for all criteria, `per_criterion` once per candidate and criterion: more calls, each so
short and simple that even a very small judge gets it right. When the judge fails, the candidate has no score; it never gets a
low one for it.
"""

import json
from collections.abc import Sequence
from typing import Any

from pop_selfplay.core.parsing import parse_evaluation
from pop_selfplay.core.scoring import score
from pop_selfplay.records import Candidate, Criterion, Evaluation, Failure, Problem, Rating, Role, Rubric
from pop_selfplay.stages.asking import Cast, Question, ask, together


async def rate(
    cast: Cast, problem: Problem, rubric: Rubric, candidates: Sequence[Candidate], round_: int
) -> tuple[Evaluation, ...] | Failure:
    """Return an evaluation for every candidate that the judge managed to rate on every criterion.

    Fewer than `min_valid_share` of the candidates asked for make a Failure. With `share_identical`, candidates with the same
    answer share one evaluation.
    """
    judged: dict[str, int] = {}
    for candidate in candidates:
        judged.setdefault(candidate.answer if cast.synthesis.share_identical else str(candidate.index), candidate.index)
    representative = {
        candidate.index: judged[candidate.answer if cast.synthesis.share_identical else str(candidate.index)]
        for candidate in candidates
    }
    firsts = [candidate for candidate in candidates if representative[candidate.index] == candidate.index]
    outcomes = await together(_evaluate(cast, problem, rubric, candidate, round_) for candidate in firsts)
    by_first = {first.index: outcome for first, outcome in zip(firsts, outcomes, strict=True)}
    evaluations = tuple(
        evaluation.model_copy(update={"candidate": candidate.index})
        for candidate in candidates
        if isinstance(evaluation := by_first[representative[candidate.index]], Evaluation)
    )
    if len(evaluations) < max(2, cast.synthesis.min_valid_share * cast.synthesis.candidates):
        last = next((outcome for outcome in reversed(outcomes) if isinstance(outcome, Failure)), None)
        detail = f"{len(evaluations)} of {len(candidates)} candidates scored; the last failure: {last}"
        return Failure(stage=Role.JUDGE.value, reason="too_few_scored", detail=detail)
    return evaluations


async def _evaluate(cast: Cast, problem: Problem, rubric: Rubric, candidate: Candidate, round_: int) -> Evaluation | Failure:
    def asking(item: str, prompt: str, **values: str) -> Question:
        messages = cast.domain.render(prompt, problem=problem.text, answer=candidate.answer, **values)
        return Question(round_, problem.id, Role.JUDGE, item, messages)

    asked: list[tuple[Question, Sequence[Criterion]]]
    if cast.synthesis.scoring == "pointwise":
        asked = [(asking(str(candidate.index), "rate", rubric=rubric_json(rubric)), rubric.criteria)]
    else:
        asked = [
            (asking(f"{candidate.index}.{n}", "rate_criterion", criterion=criterion_json(criterion)), (criterion,))
            for n, criterion in enumerate(rubric.criteria)
        ]
    outcomes = await together(_ratings(cast, question, criteria) for question, criteria in asked)
    ratings: list[Rating] = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            return outcome
        ratings.extend(outcome)
    return Evaluation(candidate=candidate.index, ratings=tuple(ratings), score=score(rubric, ratings))


async def _ratings(cast: Cast, question: Question, criteria: Sequence[Criterion]) -> tuple[Rating, ...] | Failure:
    return await ask(cast, question, lambda completion: parse_evaluation(completion, criteria))


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
