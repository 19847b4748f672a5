"""What the audit plays itself, with the run's own models and stages, on the sample: what the run did not do, to compare with.

    rubrics     the rubric again, with the document where the run hid it, without where it showed it; all candidates by it
    proposals   problems from the same documents, without them (or with), and from not even a title
    references  the reference answer, scored by the rubric
    repeats     the judge again: greedy, and at temperature 1
    orders      two answers side by side, in both orders
    modes       all candidates by another way of scoring

Every call goes into `audit.db` in the run's directory, a journal like the run's own, which stays as it is: a killed audit goes
on there and repeats no finished call. The next thing to play is an async function here and a field of `Played`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar

from pop_selfplay.domains import Domain, unfit_domain
from pop_selfplay.episode import rate, rate_reference
from pop_selfplay.evaluation.audit.sample import AuditedRound, Scored, scores_of
from pop_selfplay.judging import DEFAULT, find_mode
from pop_selfplay.judging.comparing import Pairwise, better_in_both_orders, match_for
from pop_selfplay.method.parsing import Side
from pop_selfplay.records import Candidate, Document, Evaluation, Failure, Problem, Role, Rubric
from pop_selfplay.runs.casting import Casting
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.judge import judge_of
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.write_rubric import write_rubric
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread

T = TypeVar("T")

REPEATED: Final = 8
"""Of a problem, so many candidates are judged again, spread over length; 4 where a judgement compares all of them."""

Scores = dict[int, float]


class Rewritten(NamedTuple):
    """A rubric that the audit had written, and the scores by it."""

    rubric: Rubric
    scores: Scores


class Order(NamedTuple):
    """What the judge called the better one of two answers, shown as A and B, and then the other way round."""

    first: Side
    swapped: Side


@dataclass
class Played:
    """By problem id what came of each thing played.

    `lost` counts what failed, by reason; `unplayable` says what was not played.
    """

    rubrics: dict[str, Rewritten] = field(default_factory=dict)
    proposals: dict[str, dict[str, Problem]] = field(default_factory=dict)
    references: dict[str, Evaluation] = field(default_factory=dict)
    repeats: dict[str, dict[str, Scores]] = field(default_factory=dict)
    orders: dict[str, list[Order]] = field(default_factory=dict)
    modes: dict[str, dict[str, Scores]] = field(default_factory=dict)
    lost: dict[str, Counter[str]] = field(default_factory=dict)
    unplayable: dict[str, str] = field(default_factory=dict)

    def why_missing(self, part: str) -> str:
        """Return why there is nothing of `part`."""
        if part in self.unplayable:
            return self.unplayable[part]
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.lost.get(part, Counter()).most_common())
        return f"what was played failed: {reasons}" if reasons else "there was nothing to play"


Part = tuple[str, Callable[[Cast, AuditedRound, Played], Awaitable[None]]]


def play(audited: AuditedRound, casting: Casting) -> Played:
    """Play every part that this run allows. `casting` is the run's, over the journal of the audit."""
    played = Played()
    if not audited.options.play:
        for part, _ in _PARTS:
            played.unplayable[part] = "the audit was told to play nothing (--no-play)"
        return played

    async def work(cast: Cast) -> None:
        for part, act in _PARTS:
            why = _cannot(part, audited)
            if why:
                played.unplayable[part] = why
                continue
            casting.observer.phase(f"audit: {part}")
            await act(cast, audited, played)

    casting.play(casting.policies(audited.round), work)
    return played


def _cannot(part: str, audited: AuditedRound) -> str:
    """Return why `part` cannot be played for this run, "" where it can."""
    synthesis, domain = audited.config.synthesis, audited.session.domain
    by_rubric = {"rubrics", "references", "repeats", "orders", "modes"}
    if part in by_rubric and not audited.mode.needs_rubric:
        return "the run scores by verified answers, without rubric and judge"
    needed = {
        "rubrics": ("rubric", "rubric_without_document"),
        "proposals": ("propose", "propose_without_document"),
        "orders": tuple(prompt.name for prompt in Pairwise.prompts),
    }
    lacking = [f"{name}.md" for name in needed.get(part, ()) if name not in domain.prompts]
    if lacking:
        return f"the domain {domain.name} has no {', '.join(lacking)}"
    if part == "rubrics" and Role.PROPOSER not in synthesis.document_for:
        return "the problems were made without documents, so a rubric with one would be about something else"
    if part == "modes" and not audited.options.modes:
        return "name other ways of scoring by --modes"
    return ""


async def _rubrics(cast: Cast, audited: AuditedRound, played: Played) -> None:
    shown = cast.sees_document(Role.RUBRIC_WRITER)
    roles = [Role.PROPOSER] if shown else [Role.PROPOSER, Role.RUBRIC_WRITER]
    other = _with(cast, {"document_for": roles, "early_stop": None})

    async def one(scored: Scored) -> Rewritten | Failure:
        problem, candidates = _renamed(scored, "rubrics"), scored.episode.candidates
        rubric = await write_rubric(other, scored.document, problem, candidates, audited.round)
        if isinstance(rubric, Failure):
            return rubric
        evaluations = await rate(other, problem, rubric, candidates, audited.round, asked=len(candidates))
        return evaluations if isinstance(evaluations, Failure) else Rewritten(rubric, scores_of(evaluations))

    played.rubrics = await _each(cast, "rubrics", audited.sample, one, played)


async def _proposals(cast: Cast, audited: AuditedRound, played: Played) -> None:
    shown = cast.sees_document(Role.PROPOSER)
    variants = {"without document": False} if shown else {"with document": True}
    if any(scored.document.title for scored in audited.sample):
        variants["without document and title"] = False
    for name, with_document in variants.items():
        roles = [Role.PROPOSER] if with_document else []
        other = _with(cast, {"document_for": roles})

        async def one(scored: Scored, other: Cast = other, name: str = name) -> Problem | Failure:
            document = scored.document
            if name.endswith("title"):
                document = Document(id=document.id, text=document.text)
            return await propose(other, document, audited.round, f"audit/{name}/{scored.id}")

        played.proposals[name] = await _each(cast, f"proposals {name}", audited.sample, one, played)


async def _references(cast: Cast, audited: AuditedRound, played: Played) -> None:
    async def one(scored: Scored) -> Evaluation | Failure:
        if scored.episode.reference_evaluation is not None:
            return scored.episode.reference_evaluation
        assert scored.rubric is not None  # all modes but verify have one
        problem = _renamed(scored, "references")
        found = await rate_reference(cast, problem, scored.rubric, scored.episode.candidates, audited.round)
        return found or Failure(stage=Role.JUDGE.value, reason="not_scored")

    played.references = await _each(cast, "references", audited.sample, one, played)


async def _repeats(cast: Cast, audited: AuditedRound, played: Played) -> None:
    for name, temperature in (("greedy", 0.0), ("greedy again", 0.0), ("sampled", 1.0)):
        judge = cast.synthesis.judge.changed({"temperature": temperature})
        other = _with(cast, {"judge": judge, "votes": 1, "early_stop": None})

        async def one(scored: Scored, other: Cast = other, name: str = name) -> Scores | Failure:
            few = spread(_those_scored(scored), REPEATED if audited.mode.score_range is not None else REPEATED // 2)
            return await _scores(other, scored, f"repeats {name}", few, audited.round)

        played.repeats[name] = await _each(cast, "repeats", audited.sample, one, played)


async def _orders(cast: Cast, audited: AuditedRound, played: Played) -> None:
    async def one(scored: Scored) -> list[Order] | Failure:
        assert scored.rubric is not None  # all modes but verify have one
        problem = _renamed(scored, "orders")
        match = match_for(judge_of(cast, problem, audited.round), problem, scored.rubric)
        ranked = sorted(_those_scored(scored), key=lambda candidate: (scored.scores[candidate.index], candidate.index))
        best, middle, worst = ranked[-1], ranked[len(ranked) // 2], ranked[0]
        pairs = {(a.index, b.index): (a, b) for a, b in ((best, worst), (best, middle), (middle, worst))}
        told_apart = [(a, b) for a, b in pairs.values() if a.answer != b.answer]
        outcomes = await together(better_in_both_orders(match, a, b) for a, b in told_apart)
        found = [Order(*outcome) for outcome in outcomes if not isinstance(outcome, Failure)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        return failed[-1] if failed and not found else found

    played.orders = await _each(cast, "orders", audited.sample, one, played)


async def _modes(cast: Cast, audited: AuditedRound, played: Played) -> None:
    asked = list(dict.fromkeys(audited.options.modes))
    own = audited.mode.name
    if own != DEFAULT and DEFAULT not in asked:
        asked.insert(0, DEFAULT)  # what all others are compared with
    for mode in asked:
        if mode == own:
            played.modes[mode] = {scored.id: scored.scores for scored in audited.sample}
        elif why := _unfit(mode, cast.domain):
            played.unplayable[f"modes {mode}"] = why
        else:
            other = _with(cast, {"scoring": mode, "early_stop": None, "votes": 1, "score_reference": False})

            async def one(scored: Scored, other: Cast = other, mode: str = mode) -> Scores | Failure:
                return await _scores(other, scored, f"modes {mode}", _those_scored(scored), audited.round)

            played.modes[mode] = await _each(cast, f"modes {mode}", audited.sample, one, played)


def _unfit(mode: str, domain: Domain) -> str:
    """Return why candidates cannot be scored by this mode in the run's domain, "" where they can."""
    lacking = [f"{prompt.name}.md" for prompt in find_mode(mode).prompts if prompt.name not in domain.prompts]
    return f"the domain {domain.name} has no {', '.join(lacking)}" if lacking else unfit_domain(find_mode(mode), domain)


_PARTS: Final[tuple[Part, ...]] = (
    ("rubrics", _rubrics),
    ("proposals", _proposals),
    ("references", _references),
    ("repeats", _repeats),
    ("orders", _orders),
    ("modes", _modes),
)


async def _scores(cast: Cast, scored: Scored, part: str, candidates: Sequence[Candidate], round_: int) -> Scores | Failure:
    problem = _renamed(scored, part)
    evaluations = await rate(cast, problem, scored.rubric, candidates, round_, asked=len(candidates))
    return evaluations if isinstance(evaluations, Failure) else scores_of(evaluations)


async def _each(
    cast: Cast, part: str, sample: Sequence[Scored], work: Callable[[Scored], Awaitable[T | Failure]], played: Played
) -> dict[str, T]:
    """Do `work` on each of the sample, as many at once as the run plays, and return what did not fail by problem id."""
    found: dict[str, T] = {}
    waiting = iter(sample)

    async def worker() -> None:
        for scored in waiting:
            outcome = await work(scored)
            if isinstance(outcome, Failure):
                played.lost.setdefault(part, Counter())[f"{outcome.stage}.{outcome.reason}"] += 1
            else:
                found[scored.id] = outcome

    await together(worker() for _ in range(cast.episodes_at_once))
    return {scored.id: found[scored.id] for scored in sample if scored.id in found}


def _with(cast: Cast, changes: Mapping[str, object]) -> Cast:
    """Return the cast with other settings of the synthesis. Nothing is taken over from another run's calls."""
    return replace(cast, synthesis=cast.synthesis.changed(changes))


def _renamed(scored: Scored, part: str) -> Problem:
    """Return the problem under a name of its own, so that the audit's calls have seeds and places of their own."""
    return scored.problem.model_copy(update={"id": f"audit/{part}/{scored.id}"})


def _those_scored(scored: Scored) -> list[Candidate]:
    return [candidate for candidate in scored.episode.candidates if candidate.index in scored.scores]
