"""Pointwise, the paper's way to score: once per candidate the judge rates it on every criterion of the rubric."""

from pop_selfplay.judging.base import Judge, PromptFile, voted
from pop_selfplay.judging.rating import RatingMode, Ratings, ask_ratings, rubric_json
from pop_selfplay.records import Candidate, Failure, Problem, Rubric


class Pointwise(RatingMode):
    name = "pointwise"
    prompts = (PromptFile("rate", frozenset({"problem", "rubric", "answer"})),)
    tokens = 190  # thoughts and a rating for each criterion

    async def rate(self, judge: Judge, problem: Problem, rubric: Rubric, candidate: Candidate, vote: int) -> Ratings | Failure:
        messages = judge.render("rate", problem=problem.text, rubric=rubric_json(rubric), answer=candidate.answer)
        return await ask_ratings(judge, voted(str(candidate.index), vote), messages, rubric.criteria)
