"""Per criterion: once per candidate and criterion. More calls, so simple that even a very small judge gets them right."""

from collections.abc import Callable

from pop_selfplay.judging.base import Judge, PromptFile, voted
from pop_selfplay.judging.rating import RatingMode, Ratings, ask_ratings, criterion_json, joined
from pop_selfplay.records import Candidate, Criterion, Failure, Problem, Rubric
from pop_selfplay.tasks import together


class PerCriterion(RatingMode):
    name = "per_criterion"
    prompts = (PromptFile("rate_criterion", frozenset({"problem", "criterion", "answer"})),)
    tokens = 65

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        return criteria * (candidates + reference)

    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        async def one(number: int, criterion: Criterion) -> Ratings | Failure:
            shown = criterion_json(criterion)
            messages = judge.render("rate_criterion", problem=problem.text, criterion=shown, answer=candidate.answer)
            return await ask_ratings(judge, voted(f"{candidate.index}.{number}", vote), messages, (criterion,))

        return joined(await together(one(number, criterion) for number, criterion in enumerate(rubric.criteria)))
