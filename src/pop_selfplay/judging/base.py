"""What a scoring mode is: all that the rest of the house asks about one, and how it asks its judge.

Nobody outside of this room knows a mode by its name. What another room has to know becomes a declaration of `ScoringMode`, with
a default that suits a mode which asks the judge once per candidate.

Scoring modes from installed packages: entry points of the group `pop_selfplay.scoring`.

    [project.entry-points."pop_selfplay.scoring"]
    weakest = "my_package.modes:Weakest"

The name is the mode's, the value its class. Nothing is imported before a config names the mode, so that a broken package harms
no run but those that use it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

from pop_selfplay.errors import ConfigError
from pop_selfplay.method.parsing import Form, Parsed, Rejection
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.method.rubric_json import JsonSchema
from pop_selfplay.records import Candidate, Completion, Criterion, Evaluation, Failure, Message, Problem, Rubric

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
        form: Form | None = None,
    ) -> T | Failure:
        """Ask until an answer parses or the attempts are used up, and return its value or the last reason.

        `item` tells this question from all others about the same problem. `stop` is the closing tag that ends the answer
        (`</evaluation>` unless given), `max_tokens` above 0 limits one that is known to be short. With a `schema` the answer is
        bare JSON; without one it is decoded by its `form`, where the run and the model do that. With `top_logprobs` the
        completion's tokens carry so many alternatives.
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


def rubric_json(rubric: Rubric, *, weights: bool = True) -> str:
    """Return the rubric as the judge reads it: one numbered object per criterion.

    Who rates criterion by criterion needs no `weights`, and a small judge would take them for ratings.
    """
    numbered = {f"criterion_{n}": _plain(criterion, weights) for n, criterion in enumerate(rubric.criteria, 1)}
    return json.dumps(numbered, ensure_ascii=False, indent=2)


def criterion_places(criterion: Criterion) -> dict[str, str]:
    """Return what fills the places for one criterion that the judge is asked about alone: as one line, without its weight."""
    lines = {"criterion": _plain(criterion, weights=False), "weighted_criterion": _plain(criterion, weights=True)}
    return {place: json.dumps(shown, ensure_ascii=False, separators=(",", ":")) for place, shown in lines.items()}


def _plain(criterion: Criterion, weights: bool) -> dict[str, str | float]:
    weight = int(criterion.weight) if criterion.weight.is_integer() else criterion.weight
    return {
        "name": criterion.name,
        "description": criterion.description,
        **({"weight": weight} if weights else {}),
        "gold": criterion.gold,
    }


GROUP: Final = "pop_selfplay.scoring"


def plugin_names() -> list[str]:
    """Return the names of all modes that installed packages bring, none of which is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_plugin(name: str) -> ScoringMode:
    """Return the mode of this name from the package that brings it; there must be one.

    Raises ConfigError that names the package when several bring one, or when it cannot be imported or is no such mode.
    """
    found = {_package(entry): entry for entry in entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        packages = ", ".join(sorted(found))
        raise ConfigError(f"scoring mode {name} is provided by {len(found)} packages, {packages}: uninstall all but one")
    ((package, entry),) = found.items()
    where = f"scoring mode {name} of package {package} ({entry.value})"
    try:
        loaded = entry.load()
        mode = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # another package's import may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{where} cannot be loaded: {cause}. Repair or uninstall {package}") from error
    if not isinstance(mode, ScoringMode):
        raise ConfigError(f"{where} must be a subclass of pop_selfplay.judging.ScoringMode, but is {loaded!r:.80}")
    if mode.name != name:
        raise ConfigError(f"{where} calls itself {mode.name!r}: the entry point must have the same name as the mode")
    return mode


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "without a name"
