"""Faults of rubrics that can be seen without grading anything: criteria that fit any problem, criteria that say the same.

A criterion is generic by one of two rules:

    general name    all words of its name, but for function words, are words for qualities of any answer ("clarity",
                    "overall accuracy of the response"), and it has no gold answer
    pasted          it has no gold answer, and its description, as normalised words, also stands in the rubric of
                    another problem

A gold answer makes a criterion specific, whatever its name. The next rule is a function here and a line in `generic_criteria`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from pop_selfplay.core.agreement import pearson
from pop_selfplay.core.shingles import normalised_words
from pop_selfplay.records import Criterion, Evaluation, Rubric

NO_GOLD: Final = frozenset({"", "not applicable", "n a", "na", "none", "no gold", "no gold answer"})
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
