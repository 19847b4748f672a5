"""Expect: ratings as expected values over the judge's rating tokens, with no thoughts written (scoring logprob).

The judge is asked for ratings alone, and for the probabilities of its tokens (method/expected_rating.py). The domain's prompt
says in which form: with a place for the `rubric`, one call per candidate and a JSON object of all ratings; with a place for the
`criterion`, one call each, and a completion that ends in the rating, right before the domain's `logprob_stop`.
"""

from collections.abc import Sequence
from typing import Final

from pop_selfplay.domains import Domain
from pop_selfplay.method.expected_rating import parse_last_rating, parse_ratings
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.method.schemas import ratings_schema
from pop_selfplay.records import Completion, Criterion, Failure, Rating
from pop_selfplay.stages.calls import Cast, Question, ask_for_tokens

PROMPT: Final = "rate_logprob"
_TOKENS: Final = 64
_TOKENS_EACH: Final = 32
"""More is never needed for ratings alone: a judge that explains itself all the same is cut off early."""


def one_by_one(domain: Domain) -> bool:
    """Return whether the domain asks for the criteria one by one."""
    return domain.uses(PROMPT, "criterion")


async def expect(cast: Cast, question: Question, criteria: Sequence[Criterion]) -> tuple[Rating, ...] | Failure:
    """Return the expected rating of each of `criteria`, in [0, 2]; `question` holds the filled prompt."""
    alone, rules, stop = one_by_one(cast.domain), cast.synthesis.logprob, cast.domain.logprob_stop
    schema = ratings_schema(len(criteria)) if cast.synthesis.json_schema and not alone else None

    def parse(completion: Completion) -> Parsed[tuple[Rating, ...]] | Rejection:
        if alone:
            return parse_last_rating(completion, criteria[0], stop, rules.min_mass)
        return parse_ratings(completion, criteria, rules.min_mass)

    question = question._replace(
        stop=stop, schema=schema, max_tokens=_TOKENS + _TOKENS_EACH * len(criteria), top_logprobs=rules.top
    )
    return await ask_for_tokens(cast, question, parse)
