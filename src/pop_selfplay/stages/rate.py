"""Rate: the judge scores the candidates of a problem by its rubric, without the document (method, "score").

How it does so is the scoring mode's: one class for each in judging/. Here the mode is given its judge, and a group with too few
scores becomes a failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pop_selfplay.judging import Judge
from pop_selfplay.judging.base import Rules
from pop_selfplay.method.answers import same_final_answer
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.method.schemas import JsonSchema
from pop_selfplay.records import REFERENCE, Candidate, Completion, Evaluation, Failure, Message, Problem, Role, Rubric
from pop_selfplay.stages.calls import Cast, Question, ask_for_tokens
from pop_selfplay.stages.refusals import server_failure

T = TypeVar("T")


async def rate(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    candidates: Sequence[Candidate],
    round_: int,
    *,
    asked: int | None = None,
) -> tuple[Evaluation, ...] | Failure:
    """Return an evaluation for every candidate that the judge managed to score. `rubric` is None where the mode needs none.

    Fewer than `min_valid_share` of the candidates `asked` for (by default `synthesis.candidates`), or fewer than 2, make a
    Failure.
    """
    outcomes = await rate_each(cast, problem, rubric, candidates, candidates, round_)
    evaluations = tuple(outcome for outcome in outcomes if isinstance(outcome, Evaluation))
    wanted = cast.synthesis.candidates if asked is None else asked
    least = max(2, cast.synthesis.min_valid_share * wanted)
    if len(evaluations) < least:
        if refused := server_failure(Role.JUDGE, outcomes, least - len(evaluations)):
            return refused
        last = next((outcome for outcome in reversed(outcomes) if isinstance(outcome, Failure)), None)
        detail = f"{len(evaluations)} of {len(candidates)} candidates scored; the last failure: {last}"
        return Failure(stage=Role.JUDGE.value, reason="too_few_scored", detail=detail)
    if not cast.domain.boxed:
        return evaluations
    answers = {candidate.index: candidate.answer for candidate in candidates}
    return tuple(
        evaluation.model_copy(update={"verified": same_final_answer(answers[evaluation.candidate], problem.reference_answer)})
        for evaluation in evaluations
    )


async def rate_reference(
    cast: Cast, problem: Problem, rubric: Rubric, candidates: Sequence[Candidate], round_: int
) -> Evaluation | None:
    """Return the evaluation of the reference answer by the same rubric, as of candidate −1; None where the judge failed.

    In the modes that compare it is compared with the candidates; their own scores do not change by it.
    """
    answer = problem.reference_answer
    reference = Candidate(index=REFERENCE, completion=answer, answer=answer)
    (outcome,) = await rate_each(cast, problem, rubric, [reference], candidates, round_)
    return outcome if isinstance(outcome, Evaluation) else None


async def rate_each(
    cast: Cast,
    problem: Problem,
    rubric: Rubric | None,
    judged: Sequence[Candidate],
    group: Sequence[Candidate],
    round_: int,
) -> list[Evaluation | Failure]:
    """Return for each of `judged` its evaluation, or why it has none. The modes that compare do so with `group`."""
    return await cast.synthesis.mode.score(judge_of(cast, problem, round_), problem, rubric, judged, group)


def judge_of(cast: Cast, problem: Problem, round_: int) -> Judge:
    """Return the cast's judge of one problem, as scoring modes ask it."""
    return _CastJudge(cast, problem.id, round_)


@dataclass(frozen=True)
class _CastJudge:
    """A `Judge` by the cast's judge, domain and settings; its calls are the episode's."""

    cast: Cast
    episode: str
    round: int

    @property
    def rules(self) -> Rules:
        synthesis = self.cast.synthesis
        return Rules(
            votes=synthesis.votes,
            share_identical=synthesis.share_identical,
            json_schema=synthesis.json_schema,
            top_logprobs=synthesis.logprob.top,
            min_mass=synthesis.logprob.min_mass,
            logprob_stop=self.cast.domain.logprob_stop,
        )

    def render(self, prompt: str, **values: str) -> tuple[Message, ...]:
        return self.cast.domain.render(prompt, **values)

    def uses(self, prompt: str, place: str) -> bool:
        return self.cast.domain.uses(prompt, place)

    async def ask(
        self,
        item: str,
        messages: tuple[Message, ...],
        parse: Callable[[Completion], Parsed[T] | Rejection],
        *,
        stop: str = "",
        schema: JsonSchema | None = None,
        max_tokens: int = 0,
        top_logprobs: int = 0,
    ) -> T | Failure:
        question = Question(self.round, self.episode, Role.JUDGE, item, messages, stop, schema, max_tokens, top_logprobs)
        return await ask_for_tokens(self.cast, question, parse)
