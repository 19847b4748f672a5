"""How good a rubric was at its work, from what the judge made of one problem's candidates.

Faults of rubrics that can be seen without grading anything: criteria that fit any problem, criteria that say the same.

A criterion is generic by one of two rules:

    general name    all words of its name, but for function words, are words for qualities of any answer ("clarity",
                    "overall accuracy of the response"), and it has no gold answer
    pasted          it has no gold answer, and its description, as normalised words, also stands in the rubric of
                    another problem

A gold answer makes a criterion specific, whatever its name. The next rule is a function here and a line in `generic_criteria`.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import Final, NamedTuple

from pop_selfplay.records import Criterion, Evaluation, Rubric
from pop_selfplay.stats.agreement import pearson
from pop_selfplay.text.overlap import normalised_words


class Power(NamedTuple):
    """How far one criterion tells the candidates of a group apart. 0 in both: it rated them all alike.

    `std` is the population standard deviation of its ratings, in [0, 1]; `difference` the mean absolute difference between the
    ratings of two candidates, in [0, 2].
    """

    criterion: str
    std: float
    difference: float


ALIKE: Final = 0.05
"""A criterion rates all alike where the standard deviation of its ratings is less: one in a hundred a step higher gives 0.1."""


def criterion_power(rubric: Rubric, evaluations: Sequence[Evaluation]) -> tuple[Power, ...]:
    """Return the power of each criterion, in the rubric's order. Empty where fewer than two candidates have ratings."""
    rated = [{rating.criterion: rating.rating for rating in e.ratings} for e in evaluations if e.ratings]
    if len(rated) < 2:
        return ()
    names = [criterion.name for criterion in rubric.criteria]
    return tuple(Power(name, *_apart(tuple(sorted(ratings[name] for ratings in rated)))) for name in names)


@lru_cache(maxsize=10_000)
def _apart(ratings: tuple[float, ...]) -> tuple[float, float]:
    """Return standard deviation and mean absolute difference of sorted ratings.

    Sorted, whole ratings are one of a few hundred tuples: over a hundred thousand problems each is worked out once.
    """
    return statistics.pstdev(ratings), statistics.fmean(abs(a - b) for a, b in combinations(ratings, 2))


def verify_agreement(evaluations: Sequence[Evaluation]) -> float | None:
    """Return how often a candidate with the right final answer scores above one with a wrong one, in [0, 1]; ties count half.

    0.5 is chance. None where the group has no right or no wrong candidate.
    """
    right = [e.score for e in evaluations if e.verified is True]
    wrong = [e.score for e in evaluations if e.verified is False]
    if not right or not wrong:
        return None
    return statistics.fmean(1.0 if r > w else 0.5 if r == w else 0.0 for r, w in product(right, wrong))


def below_median(reference: Evaluation, evaluations: Sequence[Evaluation]) -> bool:
    """Return whether the reference answer scores below the median candidate: then the rubric misses what the answer knew."""
    return reference.score < statistics.median(evaluation.score for evaluation in evaluations)


NO_GOLD: Final = frozenset(
    {"", "not applicable", "n a", "na", "none", "no gold", "no gold answer", "nan", "null", "nil", "undefined"}
)
_QUALITIES: Final = frozenset(
    """
    accuracy accurate accurately appropriate appropriateness clarity clear clearly coherence coherent complete completeness
    comprehensive comprehensiveness concise conciseness consistency consistent correct correctness coverage creativity depth
    detail details detailed engaging engagement explanation factual factuality flow fluency format formatting general good
    grammar helpful helpfulness informative informativeness language length logic logical organisation organization originality
    overall precise precision presentation quality readability readable reasoning relevance relevant sound soundness specific
    specificity structure structured style thorough thoroughness tone understanding useful usefulness writing
    """.split()
)
_FUNCTION: Final = frozenset(
    "a all an and answer answers as by candidate content for from has in is its of on or response s the this to with".split()
)


def has_gold(criterion: Criterion) -> bool:
    """Whether the criterion says what is right: its gold is not empty and not a way to say that there is none."""
    return " ".join(normalised_words(criterion.gold)) not in NO_GOLD


def general_name(criterion: Criterion) -> bool:
    """Whether the name says nothing but a quality that any answer to any problem may have."""
    words = [word for word in normalised_words(criterion.name) if word not in _FUNCTION]
    return all(word in _QUALITIES for word in words)


def generic_criteria(rubrics: Mapping[str, Rubric]) -> dict[str, list[bool]]:
    """Return problem id → for each criterion of its rubric whether it is generic, by the rules at the top."""
    said = Counter(
        text for rubric in rubrics.values() for text in {_description(criterion) for criterion in rubric.criteria} if text
    )
    return {
        id_: [
            not has_gold(criterion) and (general_name(criterion) or said[_description(criterion)] > 1)
            for criterion in rubric.criteria
        ]
        for id_, rubric in rubrics.items()
    }


def rating_correlations(rubric: Rubric, evaluations: Sequence[Evaluation]) -> list[float]:
    """Return the correlation over candidates of the ratings of every two criteria, in [−1, 1], without those of flat ones."""
    rated = [{rating.criterion: rating.rating for rating in e.ratings} for e in evaluations if e.ratings]
    columns = [[ratings[criterion.name] for ratings in rated] for criterion in rubric.criteria] if rated else []
    found = [pearson(one, other) for one, other in combinations(columns, 2)]
    return [value for value in found if value is not None]


def _description(criterion: Criterion) -> str:
    return " ".join(normalised_words(criterion.description))
