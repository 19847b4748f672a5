"""From ratings to scores (method, "Score of a candidate")."""

from collections.abc import Sequence

from pop_selfplay.records import Rating, Rubric


def score(rubric: Rubric, ratings: Sequence[Rating]) -> float:
    """Return Σ weight·rating / Σ weight over all criteria of `rubric`, in [0, 2].

    Raises ValueError unless `ratings` holds exactly one rating for each criterion: an evaluation that leaves one out is no
    evaluation.
    """
    by_name = {rating.criterion: rating.rating for rating in ratings}
    names = [criterion.name for criterion in rubric.criteria]
    if len(ratings) != len(names) or set(by_name) != set(names):
        raise ValueError(f"ratings of {sorted(by_name)} do not cover the criteria {sorted(names)} once each")
    # Weights are scaled by the largest before summing, so that extreme but finite weights cannot overflow.
    largest = max(criterion.weight for criterion in rubric.criteria)
    weights = [criterion.weight / largest for criterion in rubric.criteria]
    weighted = sum(weight * by_name[name] for weight, name in zip(weights, names, strict=True))
    return min(2.0, max(0.0, weighted / sum(weights)))
