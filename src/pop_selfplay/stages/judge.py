"""The judge of a problem, as scoring modes ask it: by the cast's model, the domain's prompts and the run's settings.

How candidates are scored is the mode's: one class for each in judging/. What else the judge needs to know of a run is a field
of `judging.base.Rules`, filled here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pop_selfplay.judging import Judge
from pop_selfplay.judging.base import Rules
from pop_selfplay.method.parsing import Form, Parsed, Rejection
from pop_selfplay.method.rubric_json import JsonSchema
from pop_selfplay.records import Completion, Failure, Message, Problem, Role
from pop_selfplay.stages.calls import Cast, Question, ask_for_tokens

T = TypeVar("T")


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
        form: Form | None = None,
    ) -> T | Failure:
        question = Question(self.round, self.episode, Role.JUDGE, item, messages, stop, schema, max_tokens, top_logprobs, form)
        return await ask_for_tokens(self.cast, question, parse)
