"""What an answer is truly worth, where that is known: in the pocket world, and nowhere else.

Another world with an exact truth gets a function here and a case in `knows_truth`.
"""

from functools import cache

from pop_selfplay.config import CorpusConfig, PocketCorpus
from pop_selfplay.pocket.wording import ATTRIBUTES
from pop_selfplay.pocket.world import World, asked, grade
from pop_selfplay.records import Problem


@cache
def _world() -> World:
    return World()


def knows_truth(corpus: CorpusConfig) -> bool:
    """Whether answers to problems from this corpus can be graded against the truth."""
    return isinstance(corpus, PocketCorpus)


def truth_score(problem: Problem, answer: str) -> float | None:
    """Return what `answer` is worth, in [0, 2]: per asked fact 2 stated right, 1 hedged, 0 wrong or left out, by its weight.

    None where `problem` is no question of the pocket world, or about a plant whose truth nobody knows.
    """
    question = asked(problem.text)
    if question is None or question.entity not in _world().truth:
        return None
    verdicts = grade(_world(), question.entity, question.attributes, answer)
    weights = {attribute: ATTRIBUTES[attribute].weight for attribute in question.attributes}
    return sum(weights[attribute] * verdicts[attribute].rating for attribute in weights) / sum(weights.values())
