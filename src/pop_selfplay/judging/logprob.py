"""Logprob: ratings without thoughts, as expected values over the judge's rating tokens (method/expected_rating.py).

The domain's prompt says in which form. With a place for the `rubric`, it is one call per candidate and a JSON object of all
ratings; with a place for the `criterion`, one call each, and a completion that ends in the rating, right before the domain's
`logprob_stop`.
"""

from collections.abc import Callable, Sequence
from typing import Final

from pop_selfplay.judging.base import Judge, PromptFile, criterion_places, rubric_json, voted
from pop_selfplay.judging.rating import ONE_CRITERION, RatingMode, Ratings, joined
from pop_selfplay.method.expected_rating import parse_last_rating, parse_ratings
from pop_selfplay.method.parsing import Parsed, Rejection, ratings_form
from pop_selfplay.method.rubric_json import ratings_schema
from pop_selfplay.records import Candidate, Completion, Criterion, Failure, Message, Problem, Rubric
from pop_selfplay.tasks import together

PROMPT: Final = "rate_logprob"
_TOKENS: Final = 64
_TOKENS_EACH: Final = 32
"""More is never needed for ratings alone: a judge that explains itself all the same is cut off early."""


class Logprob(RatingMode):
    name = "logprob"
    prompts = (PromptFile(PROMPT, frozenset({"problem", "rubric", *ONE_CRITERION, "answer"}), ONE_CRITERION | {"rubric"}),)
    needs_logprobs = True
    takes_votes = False  # an expected value is the mean over all votes already
    tokens = 30  # ratings alone

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return (1 if uses(PROMPT, "rubric") else criteria) * (candidates + reference)

    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        if judge.uses(PROMPT, "rubric"):
            shown = rubric_json(rubric, weights=False)
            messages = judge.render(PROMPT, problem=problem.text, rubric=shown, answer=candidate.answer)
            return await _expected(judge, voted(str(candidate.index), vote), messages, rubric.criteria, alone=False)

        async def one(number: int, criterion: Criterion) -> Ratings | Failure:
            messages = judge.render(PROMPT, problem=problem.text, answer=candidate.answer, **criterion_places(criterion))
            item = voted(f"{candidate.index}.{number}", vote)
            return await _expected(judge, item, messages, (criterion,), alone=True)

        return joined(await together(one(number, criterion) for number, criterion in enumerate(rubric.criteria)))


async def _expected(
    judge: Judge, item: str, messages: tuple[Message, ...], criteria: Sequence[Criterion], *, alone: bool
) -> Ratings | Failure:
    """Return the expected rating of each of `criteria`, in [0, 2]; `alone` tells that the one criterion is asked for."""
    rules = judge.rules

    def parse(completion: Completion) -> Parsed[Ratings] | Rejection:
        if alone:
            return parse_last_rating(completion, criteria[0], rules.logprob_stop, rules.min_mass)
        return parse_ratings(completion, criteria, rules.min_mass)

    return await judge.ask(
        item,
        messages,
        parse,
        stop=rules.logprob_stop,
        schema=ratings_schema(len(criteria)) if rules.json_schema and not alone else None,
        max_tokens=_TOKENS + _TOKENS_EACH * len(criteria),
        top_logprobs=rules.top_logprobs,
        form=None if alone else ratings_form(len(criteria)),
    )
