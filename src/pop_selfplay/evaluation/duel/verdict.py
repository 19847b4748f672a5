"""Which of two answers is better: the judge sees them in both orders, and rates each by the rubric where there is one.

| way | the preference | needs |
| --- | --- | --- |
| compare | what the judge says, the mean over both orders | with a rubric the domain's compare.md, without one our own |
| rate | which answer has the higher score under the rubric | a rubric, and the domain's rate.md or rate_criterion.md |

When the judge's answer does not parse in one of the orders, there is no verdict; it never counts as a tie.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pop_selfplay.domains import Prompt, load_prompt
from pop_selfplay.episode import rate
from pop_selfplay.evaluation.duel.prompts import DuelPrompt
from pop_selfplay.judging import find_rating_mode, rubric_json
from pop_selfplay.method.parsing import Parsed, Rejection, cut_reasoning, extract_tag, parse_better, read_side
from pop_selfplay.records import Candidate, Failure, Problem, Rating, Role
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.tasks import together

Way = Literal["compare", "rate"]
ROUND: Final = 0
_PLACES: Final = frozenset({"request", "answer_a", "answer_b"})
_POINTS: Final = {"A": 1.0, "B": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Verdict:
    """What the judge made of answer a beside answer b.

    `preference` in [0, 1] is 1 where a is better in both orders. `flipped` tells that the orders named different winners;
    None where no orders were asked. `criteria` holds (name, weight, rating of a, rating of b).
    """

    preference: float
    flipped: bool | None
    criteria: tuple[tuple[str, float, float, float], ...] = ()


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
    question = Question(ROUND, prompt.id, Role.JUDGE, item, messages, stop="</better_answer>")
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
