"""Pointwise and per criterion: the judge rates each candidate by itself, 0, 1 or 2 on every criterion of the rubric.

`RatingMode` is what such modes share: votes are averaged, identical answers share one judgement where the run says so, and the
score is the weighted mean of the ratings. A mode adds how it asks (`rate`), and may score the ratings in another way (`total`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final

from pop_selfplay.judging.base import Judge, PromptFile, ScoringMode, criterion_places, rubric_json, voted
from pop_selfplay.method.parsing import Parsed, Rejection, evaluation_form, parse_evaluation
from pop_selfplay.method.rewards import mean_ratings, score
from pop_selfplay.method.rubric_json import evaluation_schema
from pop_selfplay.records import Candidate, Completion, Criterion, Evaluation, Failure, Message, Problem, Rating, Rubric
from pop_selfplay.tasks import together

Ratings = tuple[Rating, ...]
ONE_CRITERION: Final = frozenset({"criterion", "weighted_criterion"})
"""The places for a criterion that the judge is asked about alone."""


class RatingMode(ScoringMode):
    """A mode that rates every candidate by itself, on every criterion."""

    rates_criteria: ClassVar[bool] = True

    @abstractmethod
    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        """Return one rating for each criterion, in their order. The item of what is asked holds the `vote` (`base.voted`)."""

    def total(self, rubric: Rubric, ratings: Ratings) -> float:
        """Return the candidate's score in [0, 2]; `ratings` are means over the votes, one for each criterion."""
        return score(rubric, ratings)

    async def score(
        self,
        judge: Judge,
        problem: Problem,
        rubric: Rubric | None,
        judged: Sequence[Candidate],
        group: Sequence[Candidate],
    ) -> list[Evaluation | Failure]:
        assert rubric is not None  # a mode of this kind needs one
        first: dict[str, Candidate] = {}
        for candidate in judged:
            first.setdefault(_likeness(judge, candidate), candidate)
        outcomes = await together(self._evaluate(judge, problem, rubric, candidate) for candidate in first.values())
        by_likeness = dict(zip(first, outcomes, strict=True))
        return [_as_of(by_likeness[_likeness(judge, candidate)], candidate) for candidate in judged]

    async def _evaluate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate) -> Evaluation | Failure:
        """Return what the candidate's valid votes come to, or the last failure where there is none."""
        votes = await together(self.rate(judge, problem, rubric, candidate, vote) for vote in range(judge.rules.votes))
        valid = [vote for vote in votes if not isinstance(vote, Failure)]
        if not valid:
            return next(vote for vote in reversed(votes) if isinstance(vote, Failure))
        ratings = mean_ratings(valid)
        return Evaluation(candidate=candidate.index, ratings=ratings, score=self.total(rubric, ratings))


class Pointwise(RatingMode):
    """The paper's way: once per candidate the judge rates it on every criterion of the rubric."""

    name = "pointwise"
    prompts = (PromptFile("rate", frozenset({"problem", "rubric", "answer"})),)
    tokens = 190  # thoughts and a rating for each criterion

    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        messages = judge.render(
            "rate", problem=problem.text, rubric=rubric_json(rubric, weights=False), answer=candidate.answer
        )
        return await ask_ratings(judge, voted(str(candidate.index), vote), messages, rubric.criteria)


class PerCriterion(RatingMode):
    """Once per candidate and criterion: more calls, so simple that even a very small judge gets them right."""

    name = "per_criterion"
    prompts = (PromptFile("rate_criterion", frozenset({"problem", *ONE_CRITERION, "answer"})),)
    tokens = 65

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return criteria * (candidates + reference)

    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        async def one(number: int, criterion: Criterion) -> Ratings | Failure:
            shown = criterion_places(criterion)
            messages = judge.render("rate_criterion", problem=problem.text, answer=candidate.answer, **shown)
            return await ask_ratings(judge, voted(f"{candidate.index}.{number}", vote), messages, (criterion,))

        return joined(await together(one(number, criterion) for number, criterion in enumerate(rubric.criteria)))


def _likeness(judge: Judge, candidate: Candidate) -> str:
    return candidate.answer if judge.rules.share_identical else str(candidate.index)


def _as_of(outcome: Evaluation | Failure, candidate: Candidate) -> Evaluation | Failure:
    return outcome if isinstance(outcome, Failure) else outcome.model_copy(update={"candidate": candidate.index})


async def ask_ratings(
    judge: Judge, item: str, messages: tuple[Message, ...], criteria: Sequence[Criterion]
) -> Ratings | Failure:
    """Ask for an <evaluation> of `criteria`, as bare JSON by its schema where the run says so, and return the ratings."""
    bare = judge.rules.json_schema

    def parse(completion: Completion) -> Parsed[Ratings] | Rejection:
        return parse_evaluation(completion.text, criteria, bare=bare)

    schema = evaluation_schema(criteria) if bare else None
    return await judge.ask(item, messages, parse, schema=schema, form=evaluation_form(criteria))


def joined(outcomes: Iterable[Ratings | Failure]) -> Ratings | Failure:
    """Return all ratings in one, or the first failure: a criterion that is left out makes no evaluation."""
    ratings: list[Rating] = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            return outcome
        ratings.extend(outcome)
    return tuple(ratings)
