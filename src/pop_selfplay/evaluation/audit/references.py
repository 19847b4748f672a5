"""What the self-made scores are compared with: the truth or final answers, where they are known, and a second judge if named.

The second judge sees more than the run's own: the document and the reference answer. It grades every candidate twice.

    mark        by a fixed yardstick, which knows nothing of the run's rubric: says whether the ranking is right at all
    by rubric   by the run's own rubric: says whether the run's judge applies its rubric as a stronger one would

Only the mark is used to compare rubrics: a grade by one of them would favour it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

from pop_selfplay.config import JudgeSampling
from pop_selfplay.domains import Prompt, load_prompt
from pop_selfplay.evaluation.audit.sample import Material, Scored
from pop_selfplay.judging import rubric_json
from pop_selfplay.method.parsing import parse_evaluation
from pop_selfplay.method.rewards import score
from pop_selfplay.pocket.world import knows_truth, truth_score
from pop_selfplay.records import Candidate, Criterion, Failure, Role, Rubric
from pop_selfplay.runs.casting import Casting
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.tasks import together
from pop_selfplay.text.words import spread

MOST_MARKED: Final = 16
"""Of a problem, the second judge grades so many candidates at most, spread over length."""

YARDSTICK: Final = Rubric(
    criteria=(
        Criterion(
            name="agrees with the document",
            description="What the answer says on what was asked agrees with the document. 2: in everything that matters; "
            "1: mostly, with a slip; 0: it contradicts the document, or does not say.",
            weight=4,
            gold="Not applicable",
        ),
        Criterion(
            name="covers what was asked",
            description="Every part of the problem is answered. 2: all, specifically; 1: some, or all vaguely; 0: hardly any.",
            weight=3,
            gold="Not applicable",
        ),
        Criterion(
            name="free of made-up claims",
            description="Nothing in the answer is false or invented. 2: nothing; 1: something minor; 0: what misleads.",
            weight=2,
            gold="Not applicable",
        ),
        Criterion(
            name="useful to the asker",
            description="The answer is in the form that was wanted and can be used as it is. 2: yes; 1: with effort; 0: no.",
            weight=1,
            gold="Not applicable",
        ),
    )
)
_PLACES: Final = frozenset({"document", "problem", "reference_answer", "rubric", "answer"})

Scores = dict[str, dict[int, float]]
"""Problem id → candidate → score in [0, 2]."""


@dataclass
class Yardstick:
    """One thing to compare with. `name` is how tables call it; `lost` counts what it could not score."""

    name: str
    scores: Scores
    lost: Counter[str] = field(default_factory=Counter)


@dataclass
class SecondOpinion:
    """What the second judge made of the sample."""

    mark: Yardstick
    by_rubric: Yardstick


def truth(material: Material, scored: Sequence[Scored]) -> Yardstick | None:
    """Return what the answers of `scored` are truly worth, None where nobody knows."""
    if not knows_truth(material.config.corpus):
        return None
    found = Yardstick("the truth", {})
    for one in scored:
        worth = {index: truth_score(one.problem, answer) for index, answer in one.answers.items()}
        known = {index: value for index, value in worth.items() if value is not None}
        if known:
            found.scores[one.id] = known
        else:
            found.lost["not a question of the pocket world"] += 1
    return found


def verified(scored: Sequence[Scored]) -> Yardstick | None:
    """Return which answers have the reference's final answer (2) or another one (0), None where the domain asks for none.

    The reference is the proposer's own, and may be wrong; but no judge and no rubric has a say in it.
    """
    found = Yardstick("the reference's final answer", {})
    for one in scored:
        known = {e.candidate: 2.0 * e.verified for e in one.episode.evaluations if e.verified is not None}
        if known:
            found.scores[one.id] = known
    return found if found.scores else None


def second_judge(material: Material, casting: Casting, scored: Sequence[Scored]) -> SecondOpinion | None:
    """Let the judge of the options grade the answers of `scored`; None where the options name none."""
    judge, name = material.options.judge, material.options.judge_name
    if judge is None:
        return None
    frozen = [role for role in casting.config.frozen_roles if role != Role.JUDGE]  # a teacher cannot be frozen, too
    judges = casting.copy(config=casting.config.changed({"teachers": {Role.JUDGE: judge}, "frozen_roles": frozen}))
    judged = SecondOpinion(Yardstick(name, {}), Yardstick(f"{name}, by the run's rubric", {}))

    async def work(cast: Cast) -> None:
        careful = replace(cast, synthesis=cast.synthesis.changed({"judge": JudgeSampling(), "votes": 1}))
        waiting = iter(scored)

        async def worker() -> None:
            for one in waiting:
                await _graded(careful, one, YARDSTICK, judged.mark)
                if one.rubric is not None:
                    await _graded(careful, one, one.rubric, judged.by_rubric)

        await together(worker() for _ in range(cast.episodes_at_once))

    casting.observer.phase(f"audit: {name} grades {len(scored)} problems")
    judges.play({Role.JUDGE: material.round}, work)
    return judged


async def _graded(cast: Cast, scored: Scored, rubric: Rubric, into: Yardstick) -> None:
    candidates = [candidate for candidate in scored.episode.candidates if candidate.index in scored.scores]
    part = "mark" if rubric is YARDSTICK else "by rubric"

    async def grade(candidate: Candidate) -> None:
        messages = rate_with_document().fill(
            {
                "document": scored.document.text,
                "problem": scored.problem.text,
                "reference_answer": scored.problem.reference_answer,
                "rubric": rubric_json(rubric),
                "answer": candidate.answer,
            },
            {},
        )
        place = f"audit/second judge {part}/{scored.id}"
        question = Question(scored.episode.round, place, Role.JUDGE, str(candidate.index), messages)
        ratings = await ask(cast, question, lambda completion: parse_evaluation(completion, rubric.criteria))
        if isinstance(ratings, Failure):
            into.lost[ratings.reason] += 1
        else:
            into.scores.setdefault(scored.id, {})[candidate.index] = score(rubric, ratings)

    await together(grade(candidate) for candidate in spread(candidates, MOST_MARKED))


@cache
def rate_with_document() -> Prompt:
    """Return the second judge's prompt."""
    return load_prompt(Path(__file__).parent / "rate_with_document.md", _PLACES)
