"""The duel: both models answer every prompt, then the judge compares the answers. Every finished call is in the journal."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pop_selfplay.config import JudgeSampling, Sampling, Synthesis
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.errors import DomainError
from pop_selfplay.evaluation.duel.prompts import DuelPrompt, Questions
from pop_selfplay.evaluation.duel.verdict import ROUND, Verdict, judge
from pop_selfplay.evaluation.model_spec import ModelSpec
from pop_selfplay.journal import Journal
from pop_selfplay.judging import find_rating_mode
from pop_selfplay.method.parsing import Parsed, Rejection, cut_reasoning, parse_answer
from pop_selfplay.models.base import ChatModel, Notice
from pop_selfplay.records import Failure, Role
from pop_selfplay.stages.calls import NO_STOP, Cast, Question, ask
from pop_selfplay.tasks import together

REFUSED = "refused"
"""The reason of a request that a server did not take: not the model's fault, and no forfeit."""


@dataclass(frozen=True)
class Duel:
    """Who fights over what. `samples` answers of each model to each prompt; a temperature of 0 is greedy."""

    a: ModelSpec
    b: ModelSpec
    judge: ModelSpec
    questions: Questions
    domain: str = "instruction_following"
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 6144
    seed: int = 42


@dataclass(frozen=True)
class Fight:
    """One pair of answers. `lost` says why there is no verdict, `forfeit` which side lost by having no valid answer."""

    prompt: DuelPrompt
    sample: int
    a: str
    b: str
    verdict: Verdict | None
    forfeit: str = ""
    lost: str = ""


async def play_duel(duel: Duel, journal: Journal, notice: Notice) -> list[Fight]:
    """Play every fight of the duel, in the order of the prompts. Models are opened here and closed; `notice`: as they say.

    Raises DomainError when a prompt has a rubric by which the domain can neither compare nor rate.
    """
    domain = duel.questions.domain or load_domain(duel.domain)
    _check(domain, duel.questions.prompts)
    casts: dict[str, Cast] = {}
    opened: dict[str, ChatModel] = {}
    try:
        for side, spec in (("a", duel.a), ("b", duel.b), ("judge", duel.judge)):
            if spec.identity not in opened:
                opened[spec.identity] = spec.open(notice)
            model = opened[spec.identity]
            role = Role.JUDGE if side == "judge" else Role.SOLVER
            casts[side] = Cast({role: model}, domain, _synthesis(duel), journal, duel.seed)
        return await together(
            _fight(duel, casts, prompt, sample) for prompt in duel.questions.prompts for sample in range(duel.samples)
        )
    finally:
        for model in opened.values():
            await model.close()


async def _fight(duel: Duel, casts: dict[str, Cast], prompt: DuelPrompt, sample: int) -> Fight:
    a, b = await together(
        _answer(casts[side], prompt, f"{spec.identity}/{sample}") for side, spec in (("a", duel.a), ("b", duel.b))
    )
    missing = {side: answer.reason for side, answer in (("a", a), ("b", b)) if isinstance(answer, Failure)}
    text_a, text_b = ("" if isinstance(answer, Failure) else answer for answer in (a, b))
    fought = partial(Fight, prompt, sample, text_a, text_b)
    if REFUSED in missing.values():
        return fought(None, lost=REFUSED)
    if len(missing) == 2:
        return fought(None, lost="no_answer")
    if missing:
        (side,) = missing
        return fought(Verdict(float(side == "b"), None), forfeit=side)
    if text_a == text_b:
        return fought(Verdict(0.5, None))
    verdict = await judge(casts["judge"], prompt, f"{duel.a.identity}:{duel.b.identity}/{sample}", text_a, text_b)
    return fought(None, lost=f"judge_{verdict.reason}") if isinstance(verdict, Failure) else fought(verdict)


async def _answer(cast: Cast, prompt: DuelPrompt, item: str) -> str | Failure:
    if prompt.tagged:
        return await ask(cast, Question(ROUND, prompt.id, Role.SOLVER, item, prompt.messages), parse_answer)
    return await ask(cast, Question(ROUND, prompt.id, Role.SOLVER, item, prompt.messages, stop=NO_STOP), _plain)


def _plain(completion: str) -> Parsed[str] | Rejection:
    """Return all that follows the reasoning."""
    text = cut_reasoning(completion)
    if isinstance(text, Rejection):
        return text
    return Parsed(text.strip()) if text.strip() else Rejection("empty_answer")


def _synthesis(duel: Duel) -> Synthesis:
    """Return how the sides sample: the run's own limits where the problems are a run's."""
    start = duel.questions.synthesis or Synthesis(
        solver=Sampling(max_tokens=duel.max_tokens, attempts=2), judge=JudgeSampling(attempts=3)
    )
    return start.changed({"solver": start.solver.changed({"temperature": duel.temperature})})


def _check(domain: Domain, prompts: Sequence[DuelPrompt]) -> None:
    able = "compare" in domain.prompts or find_rating_mode(domain.prompts) is not None
    if any(prompt.rubric is not None for prompt in prompts) and not able:
        raise DomainError(
            f"domain {domain.name!r} has neither compare.md nor rate.md, so its judge cannot use the rubrics: "
            "name another domain with --domain"
        )
