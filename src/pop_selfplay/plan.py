"""What a synthesis will take, before it begins: calls, tokens, hours and money.

The documents and the prompts are the real ones; how much a model will write is assumed (`WRITTEN`) or measured earlier. Each
call is assumed to parse at the first try, and early stopping not to stop: a plan is what is paid at most when nothing has to be
asked again. A scoring mode says itself how many calls it makes, and how long they are (judging/).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pop_selfplay.config import RunConfig, Synthesis, prices_of
from pop_selfplay.corpus import split_documents
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.episode import rate_again, rate_reference
from pop_selfplay.errors import UsageError
from pop_selfplay.journal import Journal
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Completion, Document, Episode, Role
from pop_selfplay.results.run import RunResult
from pop_selfplay.stages.calls import Cast
from pop_selfplay.tasks import run_to_end
from pop_selfplay.text.words import count_words

TOKENS_PER_WORD: Final = 1.33
CRITERIA: Final = 3
"""Criteria of a rubric, as the method's 1 to 5 come out on average."""

WRITTEN: Final[dict[str, int]] = {
    "proposer": 200,  # a problem and a reference answer of about 75 words each
    "solver": 450,  # about 340 words, thoughts included
    "rubric_writer": 230,
}
"""Tokens a 7B model writes in one call: the workload of the shipped simulated server."""

WRITING_SOLVER: Final = 1000
"""Tokens of a solver that is asked for a story of about a thousand words."""

TOKENS_PER_SECOND: Final = 5600.0
"""Generated tokens per second of one A100 serving a 7B model to 256 sequences at once: step time 20 ms + 0.1 ms a sequence."""

_READ_PER_SECOND: Final = 15_000.0
_SAMPLE: Final = 200


class Planned(NamedTuple):
    """What one role will take: all tokens of all its calls; `cached` is a part of `prompt`."""

    role: str
    calls: int
    prompt: int
    cached: int
    generated: int
    money: float


class Plan(NamedTuple):
    """The plan of one round's synthesis: of `documents` out of the `wanted` ones. `assumed` says what it rests on.

    `dropped` counts the texts of the corpus that cannot be used, by reason.
    """

    documents: int
    wanted: int
    dropped: Mapping[str, int]
    roles: tuple[Planned, ...]
    hours: float
    assumed: str

    @property
    def money(self) -> float:
        return sum(role.money for role in self.roles)


class EarlierRun(NamedTuple):
    """What an earlier run took: generated tokens per call of each role, and generated tokens per second of synthesis."""

    source: str
    written: Mapping[str, float]
    tokens_per_second: float | None


def judgements(synthesis: Synthesis, domain: Domain) -> int:
    """Return how many calls the judge gets for one problem when nothing is asked again."""
    calls = synthesis.mode.calls(synthesis.candidates, reference=synthesis.score_reference, criteria=CRITERIA, uses=domain.uses)
    return calls * synthesis.votes


def calls_per_episode(synthesis: Synthesis, domain: Domain) -> dict[Role, int]:
    """Return how many calls each role gets for one problem when nothing is asked again."""
    return {
        Role.PROPOSER: 1,
        Role.SOLVER: synthesis.candidates,
        Role.RUBRIC_WRITER: int(synthesis.mode.needs_rubric),
        Role.JUDGE: judgements(synthesis, domain),
    }


def make_plan(config: RunConfig, like: EarlierRun | None = None, tokens_per_second: float | None = None) -> Plan:
    """Read the corpus and return the plan of the first round. Nothing is written, and no model is asked.

    `like` replaces the assumed lengths and speed by measured ones, `tokens_per_second` the speed. Raises CorpusError and
    DomainError as a run would.
    """
    domain = load_domain(config.domain)
    split = split_documents(config)
    documents = tuple(split.rounds[1])
    written = {**_assumed(config, domain), **(like.written if like else {})}
    roles = _roles(config, domain, documents, written)
    known = tokens_per_second or (like.tokens_per_second if like else None)
    speed = known or TOKENS_PER_SECOND
    timed = bool(like and like.tokens_per_second) and not tokens_per_second  # by the seconds of a run, in which it read, too
    hours = hours_of(roles, speed, reads=not timed)
    speeds = f"{speed:,.0f} generated" + ("" if timed else f" and {_READ_PER_SECOND:,.0f} read") + " tokens per second"
    speeds += "" if known else ", as of a 7B model on an A100 (--tokens-per-second sets yours)"
    return Plan(
        len(documents),
        config.synthesis.documents,
        split.dropped,
        roles,
        hours,
        f"{_lengths(written, like)}; {speeds}; no call asked twice",
    )


def hours_of(roles: Sequence[Planned], tokens_per_second: float = TOKENS_PER_SECOND, *, reads: bool = True) -> float:
    """Return how long a server needs that generates so many tokens a second.

    Where it `reads` besides, it reads those that are not cached at `_READ_PER_SECOND`.
    """
    reading = sum(role.prompt - role.cached for role in roles) / _READ_PER_SECOND if reads else 0.0
    return (sum(role.generated for role in roles) / tokens_per_second + reading) / 3600


def _lengths(written: Mapping[str, float], like: EarlierRun | None) -> str:
    """Say how long the texts of each role are taken to be, and which of these lengths nobody has measured."""
    known = like.written if like else {}
    lines = {
        f"tokens per call as in {like.source if like else ''}": [role for role in Role if role in known],
        "assumed tokens per call": [role for role in Role if role not in known],
    }
    said = {line: ", ".join(f"{role} {written[role]:,.0f}" for role in roles if written[role]) for line, roles in lines.items()}
    return "; ".join(f"{line}: {shown}" for line, shown in said.items() if shown)


def _assumed(config: RunConfig, domain: Domain) -> dict[str, float]:
    mode = config.synthesis.mode
    return {
        Role.PROPOSER: WRITTEN["proposer"],
        Role.SOLVER: WRITING_SOLVER if domain.name == "creative_writing" else WRITTEN["solver"],
        Role.RUBRIC_WRITER: WRITTEN["rubric_writer"] if mode.needs_rubric else 0,
        Role.JUDGE: mode.tokens,
    }


def _roles(
    config: RunConfig, domain: Domain, documents: tuple[Document, ...], written: Mapping[str, float]
) -> tuple[Planned, ...]:
    problems = len(documents) * config.synthesis.problems_per_document
    sizes = _prompt_tokens(config, domain, documents, written)
    planned = []
    for role, calls in calls_per_episode(config.synthesis, domain).items():
        size, shared = sizes[role]
        total = Planned(
            role.value,
            problems * calls,
            round(problems * calls * size),
            round(problems * max(0, calls - 1) * shared),
            round(problems * calls * written[role]),
            0.0,
        )
        prices = prices_of(config.player(role))
        money = prices.money(total.prompt, total.cached, total.generated) if prices else 0.0
        planned.append(total._replace(money=money))
    return tuple(planned)


def _prompt_tokens(
    config: RunConfig, domain: Domain, documents: tuple[Document, ...], written: Mapping[str, float]
) -> dict[Role, tuple[float, float]]:
    """Return for each role the tokens of one prompt, and how many of them all its calls for one problem have in common."""
    synthesis, filled = config.synthesis, {role: _words(tokens) for role, tokens in written.items()}
    problem = reference = _words(written[Role.PROPOSER] / 2)
    shown = min(domain.spread.count, synthesis.candidates)
    answer = filled[Role.SOLVER]
    values = {"problem": problem, "title": "", "reference_answer": reference, "candidates": " ".join([answer] * shown)}
    criterion = _words(written[Role.RUBRIC_WRITER] / CRITERIA)
    judged = {"rubric": filled[Role.RUBRIC_WRITER], "criterion": criterion, "weighted_criterion": criterion}
    document = _mean_tokens(documents)

    def size(prompt: str, given: Mapping[str, str]) -> float:
        if prompt not in domain.prompts:
            return 0.0
        return sum(_tokens(message.content) for message in domain.render(prompt, **{**values, **given}))

    see = synthesis.document_for
    proposed = size("propose" if Role.PROPOSER in see else "propose_without_document", {"document": ""})
    solved = size("solve", {})
    asked = size("rubric" if Role.RUBRIC_WRITER in see else "rubric_without_document", {"document": ""})
    name, places = next(((file.name, file.places) for file in synthesis.mode.prompts), ("", frozenset()))
    empty = {**dict.fromkeys(places - values.keys(), ""), **judged}
    answers = dict.fromkeys(("answer", "answer_a", "answer_b"), answer)
    rated = size(name, {**empty, **answers})
    return {
        Role.PROPOSER: (proposed + document * (Role.PROPOSER in see), 0.0),
        Role.SOLVER: (solved, solved),
        Role.RUBRIC_WRITER: (asked + document * (Role.RUBRIC_WRITER in see), 0.0),
        Role.JUDGE: (rated, size(name, empty)),
    }


def _mean_tokens(documents: tuple[Document, ...]) -> float:
    sample = documents[:_SAMPLE]
    return sum(_tokens(document.text) for document in sample) / len(sample)


def _tokens(text: str) -> float:
    return TOKENS_PER_WORD * count_words(text)


def _words(tokens: float) -> str:
    return " ".join(["word"] * round(tokens / TOKENS_PER_WORD))


def measured(result: RunResult, source: str) -> EarlierRun:
    """Return what the first round of an earlier run took, from its result (`compute_result`).

    Raises UsageError when it has made no calls.
    """
    first = result.rounds[0]
    usage, seconds = first.usage, first.seconds.synthesis
    generated = sum(cost.generated for cost in usage.values())
    if not any(cost.calls for cost in usage.values()):
        raise UsageError(f"--like {source}: no call of its first round is finished yet; name a run that has finished calls")
    return EarlierRun(
        source,
        {role: cost.generated / cost.calls for role, cost in usage.items() if cost.calls},
        generated / seconds if seconds else None,
    )


class _Counting:
    """A model that says nothing, and counts what it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.calls, self.tokens = 0, 0.0

    async def complete(self, request: ChatRequest) -> Completion:
        self.calls += 1
        self.tokens += sum(_tokens(message.content) for message in request.messages)
        return Completion("", "stop", 0, 0)

    async def close(self) -> None:
        """There is nothing to free."""


def count_ratings(config: RunConfig, domain: Domain, episodes: Iterable[Episode]) -> tuple[int, float]:
    """Return how many calls rating the answers of `episodes` again would take, and the tokens of their prompts."""
    once = {"judge": config.synthesis.judge.changed({"attempts": 1}), "constrain": "none", "reuse": None}
    counting = _Counting()

    async def count() -> None:
        with Journal.open(Path(":memory:")) as journal:
            cast = Cast(dict.fromkeys(Role, counting), domain, config.synthesis.changed(once), journal, config.seed)
            for episode in episodes:
                judged = await rate_again(cast, episode)
                if judged.rubric is not None and judged.problem is not None and cast.synthesis.score_reference:
                    await rate_reference(cast, judged.problem, judged.rubric, judged.candidates, judged.round)

    run_to_end(count())
    return counting.calls, counting.tokens
