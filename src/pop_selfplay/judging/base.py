"""What a scoring mode is: all that the rest of the house asks about one, and how it asks its judge.

Nobody outside of this room knows a mode by its name. What another room has to know becomes a declaration of `ScoringMode`, with
a default that suits a mode which asks the judge once per candidate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.method.schemas import JsonSchema
from pop_selfplay.method.scoring import SCORES
from pop_selfplay.records import Candidate, Completion, Evaluation, Failure, Message, Problem, Rubric

T = TypeVar("T")


class PromptFile(NamedTuple):
    """A prompt that a mode needs of a domain, `name`.md: the places it may have, and `either` of which it must have just one.

    `text` stands in for the file in a domain that has none, so that a mode works with domains that never heard of it.
    """

    name: str
    places: frozenset[str]
    either: frozenset[str] = frozenset()
    text: str = ""


class Rules(NamedTuple):
    """The settings that a mode may go by.

    `votes` ≥ 1 judgements of each thing; identical answers judged once; replies by a JSON schema. The rest is about ratings
    read off probabilities: how many alternatives to ask for, the probability that 0, 1 and 2 need together, and the text that
    ends such a judgement in this domain.
    """

    votes: int
    share_identical: bool
    json_schema: bool
    top_logprobs: int
    min_mass: float
    logprob_stop: str


class Judge(Protocol):
    """The judge of one problem, as a mode sees it. What it is asked is in the journal, and not asked again after a kill."""

    @property
    def rules(self) -> Rules: ...

    def render(self, prompt: str, **values: str) -> tuple[Message, ...]:
        """Return the domain's `prompt`, one of the mode's own, with its places filled by `values`, which are fenced.

        Raises DomainError when the domain has no such prompt.
        """
        ...

    def uses(self, prompt: str, place: str) -> bool:
        """Return whether the domain's `prompt` has this place."""
        ...

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
        """Ask until an answer parses or the attempts are used up, and return its value or the last reason.

        `item` tells this question from all others about the same problem. `stop` is the closing tag that ends the answer
        (`</evaluation>` unless given), `max_tokens` above 0 limits one that is known to be short. With a `schema` the answer is
        bare JSON; with `top_logprobs` the completion's tokens carry so many alternatives.
        """
        ...


class ScoringMode(ABC):
    """One way to score the candidates of a problem. A mode keeps no state: what it needs, it is given."""

    name: ClassVar[str]
    """The value of `synthesis.scoring` that selects it."""
    prompts: ClassVar[tuple[PromptFile, ...]] = ()
    """The prompts it asks by; the first one makes most of its cost."""
    score_range: ClassVar[tuple[float, float] | None] = SCORES
    """`SCORES`, or None where a score says something only beside the others of its group; those lie in [−10, 10]."""
    rates_criteria: ClassVar[bool] = False
    """Whether an evaluation holds one rating in [0, 2] for every criterion."""
    needs_rubric: ClassVar[bool] = True
    """Whether a rubric is written. Without one the reference answer is what candidates are held against."""
    needs_boxed: ClassVar[bool] = False
    """Whether it works only where the domain asks for boxed final answers."""
    needs_logprobs: ClassVar[bool] = False
    """Whether the judge's server must return the probabilities of tokens."""
    takes_votes: ClassVar[bool] = True
    """Whether asking again can give another score."""
    tokens: ClassVar[int] = 0
    """Tokens that a 7B model writes in one call."""

    def calls(self, candidates: int, *, reference: bool, criteria: int, uses: Callable[[str, str], bool]) -> int:
        """Return how many calls one problem takes, with one vote and when nothing is asked again.

        `candidates` are those of the group, `reference` tells that the reference answer is scored, too, `criteria` how many
        criteria a rubric has, and `uses(prompt, place)` whether the domain's prompt has that place.
        """
        return candidates + reference

    @abstractmethod
    async def score(
        self,
        judge: Judge,
        problem: Problem,
        rubric: Rubric | None,
        judged: Sequence[Candidate],
        group: Sequence[Candidate],
    ) -> list[Evaluation | Failure]:
        """Return for each of `judged`, in order, its evaluation or why it has none: a judge that fails makes no low score.

        `group` are the candidates of the problem, with which a mode that compares does so; `judged` are some of them, or the
        reference answer. `rubric` is None only where the mode needs none.
        """


def voted(item: str, vote: int) -> str:
    """Return the item of the `vote`-th judgement of `item`; the first one is the item itself."""
    return f"{item}#{vote}" if vote else item
