"""The duel: both models answer every prompt, then the judge compares the answers. Every finished call is in the journal.

The judge sees two answers in both orders, and rates each by the rubric where there is one.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pop_selfplay.config import JudgeSampling, SolverSampling, Synthesis
from pop_selfplay.domains import Domain, Prompt, load_domain, load_prompt
from pop_selfplay.episode import rate
from pop_selfplay.errors import DomainError
from pop_selfplay.evaluation.duel.duel import Duel, DuelPrompt, Fight, Verdict, duel_result, fight_row
from pop_selfplay.evaluation.eval_dir import open_eval_dir, reporting
from pop_selfplay.journal import Journal
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.judging import find_rating_mode, rubric_json
from pop_selfplay.method.parsing import (
    BETTER,
    MOST_THOUGHTS,
    Block,
    Form,
    Parsed,
    Rejection,
    answer_form,
    cut_reasoning,
    extract_tag,
    parse_answer,
    parse_better,
    read_side,
)
from pop_selfplay.models.base import ChatModel, Notice
from pop_selfplay.records import Candidate, Failure, Problem, Rating, Role
from pop_selfplay.results.evaluation import DuelResult
from pop_selfplay.stages.calls import NO_STOP, Cast, Question, ask
from pop_selfplay.stages.refusals import BROKEN, REFUSED
from pop_selfplay.tasks import run_to_end, together

Way = Literal["compare", "rate"]
ROUND: Final = 0
_PLACES: Final = frozenset({"request", "answer_a", "answer_b"})
_WITH_TIES: Final = Form((Block("better_answer", ("A", "B", "tie")),), MOST_THOUGHTS)
_POINTS: Final = {"A": 1.0, "B": 0.0, "tie": 0.5}


def way_for(cast: Cast, prompt: DuelPrompt) -> Way:
    """Return how this prompt is judged: by ratings only where a rubric is and the domain cannot compare by one."""
    return "compare" if prompt.rubric is None or "compare" in cast.domain.prompts else "rate"


async def judge(cast: Cast, prompt: DuelPrompt, key: str, a: str, b: str) -> Verdict | Failure:
    """Return the verdict on two different answers. `key` names this comparison in the journal."""
    ratings = await _ratings(cast, prompt, key, a, b)
    if way_for(cast, prompt) == "rate":
        return ratings if isinstance(ratings, Failure) else Verdict(_by_score(ratings), None, ratings)
    compared = await _compared(cast, prompt, key, a, b)
    if isinstance(compared, Failure):
        return compared
    return replace(compared, criteria=() if isinstance(ratings, Failure) else ratings)


async def _compared(cast: Cast, prompt: DuelPrompt, key: str, a: str, b: str) -> Verdict | Failure:
    """Return the verdict over both orders."""
    as_a, as_b = await together((_order(cast, prompt, f"{key}/ab", a, b), _order(cast, prompt, f"{key}/ba", b, a)))
    if isinstance(as_a, Failure):
        return as_a
    if isinstance(as_b, Failure):
        return as_b
    first, second = _POINTS[as_a], 1 - _POINTS[as_b]
    return Verdict((first + second) / 2, abs(first - second) == 1)


async def _order(cast: Cast, prompt: DuelPrompt, item: str, first: str, second: str) -> str | Failure:
    if prompt.rubric is None:
        messages = _general().fill({"request": prompt.text, "answer_a": first, "answer_b": second}, {})
    else:
        messages = cast.domain.render(
            "compare", problem=prompt.text, rubric=rubric_json(prompt.rubric), answer_a=first, answer_b=second
        )
    form = _WITH_TIES if prompt.rubric is None else BETTER
    question = Question(ROUND, prompt.id, Role.JUDGE, item, messages, stop="</better_answer>", form=form)
    return await ask(cast, question, parse_verdict if prompt.rubric is None else _parse_decided)


async def _ratings(
    cast: Cast, prompt: DuelPrompt, key: str, a: str, b: str
) -> tuple[tuple[str, float, float, float], ...] | Failure:
    """Return every criterion of the rubric with both answers' ratings; nothing where no rubric is, or no prompt to rate by."""
    rated = _rating_cast(cast)
    if prompt.rubric is None or rated is None:
        return ()
    problem = Problem(id=f"{prompt.id}/{key}", document_id="", text=prompt.text, reference_answer="")
    candidates = [Candidate(index=n, completion=answer, answer=answer) for n, answer in enumerate((a, b))]
    evaluations = await rate(rated, problem, prompt.rubric, candidates, ROUND, asked=2)
    if isinstance(evaluations, Failure):
        return evaluations
    of_a, of_b = (_by_name(evaluation.ratings) for evaluation in evaluations)
    return tuple((c.name, c.weight, of_a[c.name], of_b[c.name]) for c in prompt.rubric.criteria)


def _rating_cast(cast: Cast) -> Cast | None:
    """Return the cast set to rate each answer by itself, with whichever prompt its domain has for that."""
    mode = find_rating_mode(cast.domain.prompts)
    if mode is None:
        return None
    changes = {"scoring": mode.name, "early_stop": None, "score_reference": False}
    return replace(cast, synthesis=cast.synthesis.changed(changes))


def _by_name(ratings: tuple[Rating, ...]) -> dict[str, float]:
    return {rating.criterion: rating.rating for rating in ratings}


def _by_score(criteria: tuple[tuple[str, float, float, float], ...]) -> float:
    lead = sum(weight * (a - b) for _, weight, a, b in criteria)
    return 0.5 if lead == 0 else float(lead > 0)


def parse_verdict(completion: str) -> Parsed[str] | Rejection:
    """Return A, B or tie: what the judge calls the better answer."""
    text = cut_reasoning(completion)
    verdict = text if isinstance(text, Rejection) else extract_tag(text, "better_answer")
    if isinstance(verdict, Rejection):
        return verdict
    read = "tie" if verdict.strip(" *_`.'\"").casefold() == "tie" else read_side(verdict)
    return Rejection("bad_verdict", f"{verdict!r:.80} is not A, B or tie") if read is None else Parsed(read, read != verdict)


def _parse_decided(completion: str) -> Parsed[str] | Rejection:
    """Return A or B: a domain's compare prompt allows no tie."""
    parsed = parse_better(completion)
    return parsed if isinstance(parsed, Rejection) else Parsed(str(parsed.value))


@functools.cache
def _general() -> Prompt:
    return load_prompt(Path(__file__).with_name("compare.md"), _PLACES)


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
    for reason in (REFUSED, BROKEN):  # the server's doing, and no forfeit
        if reason in missing.values():
            return fought(None, lost=reason)
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
    boxed, asked = cast.domain.boxed, Question(ROUND, prompt.id, Role.SOLVER, item, prompt.messages, stop=NO_STOP)
    if prompt.tagged is None:
        return await ask(cast, asked, _plain)
    if prompt.tagged:
        asked = asked._replace(form=answer_form(boxed=boxed), stop="")
    return await ask(cast, asked, partial(parse_answer, tagged=prompt.tagged, boxed=boxed))


def _plain(completion: str) -> Parsed[str] | Rejection:
    """Return all that follows the reasoning."""
    text = cut_reasoning(completion)
    if isinstance(text, Rejection):
        return text
    return Parsed(text.strip()) if text.strip() else Rejection("empty_answer")


def _synthesis(duel: Duel) -> Synthesis:
    """Return how the sides sample: the run's own limits where the problems are a run's."""
    start = duel.questions.synthesis or Synthesis(
        solver=SolverSampling(max_tokens=duel.max_tokens, attempts=2),
        judge=JudgeSampling(max_tokens=duel.judge_max_tokens, attempts=3),
        constrain=duel.constrain,
    )
    return start.changed({"solver": start.solver.changed({"temperature": duel.temperature})})


def _check(domain: Domain, prompts: Sequence[DuelPrompt]) -> None:
    able = "compare" in domain.prompts or find_rating_mode(domain.prompts) is not None
    if any(prompt.rubric is not None for prompt in prompts) and not able:
        raise DomainError(
            f"domain {domain.name!r} has neither compare.md nor rate.md, so its judge cannot use the rubrics: "
            "name another domain with --domain"
        )


def duel_in(out: Path, duel: Duel, tell: Notice = lambda line: None) -> DuelResult:
    """Play `duel` in the directory `out`, write duel.json and items.jsonl there and return the content of duel.json.

    Called again it makes only the calls that are left. `tell` hears now and then how far it is. Raises the errors of
    the models, and JournalError when `out` cannot be used.
    """
    with open_eval_dir(out) as place:
        fights = run_to_end(_played(duel, place.journal, tell))
        result = duel_result(duel, fights)
        lines = "".join(json.dumps(fight_row(fight), ensure_ascii=False) + "\n" for fight in fights)
        write_atomically(place.path / "items.jsonl", lines)
        write_atomically(place.path / "duel.json", result.to_json())
    return result


async def _played(duel: Duel, journal: Journal, tell: Notice) -> list[Fight]:
    def say() -> None:
        calls = {role: sum(reasons.values()) for role, reasons in journal.tally.calls_by_role().items()}
        tell(", ".join(f"{count:,} calls of the {role}" for role, count in calls.items()) or "no call is finished yet")

    async with reporting(say):
        return await play_duel(duel, journal, tell)
