"""Made-up rounds for the audit: what judges and rubrics do in them is decided here."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pop_selfplay.evaluation.audit.findings import Family, Figure
from pop_selfplay.evaluation.audit.sample import AuditedRound, ComparisonScores, Scored
from pop_selfplay.records import Candidate, Criterion, Document, Episode, Evaluation, Problem, Rating, Rubric

WORDS = tuple(f"{head}{tail}" for head in "bo ka li mu ne ro su ti va zo".split() for tail in "ran del fim gos hup".split())

RUBRIC = Rubric(
    criteria=(
        Criterion(name="dose", gold="two drops", description="states the dose", weight=2),
        Criterion(name="hour", gold="before sleep", description="states the hour", weight=1),
    )
)

Judge = Callable[[str, float, random.Random], Sequence[float]]
"""(answer, its quality from 0 to 1, randomness) → one rating from 0 to 2 for each criterion."""


def fair(answer: str, quality: float, rng: random.Random) -> Sequence[float]:
    """Rate by quality, with an error now and then, each criterion by itself."""
    return [float(min(2, max(0, round(2 * quality + rng.gauss(0, 0.35))))) for _ in RUBRIC.criteria]


def by_length(answer: str, quality: float, rng: random.Random) -> Sequence[float]:
    return [float(min(2, len(answer.split()) // 14))] * 2


def by_chance(answer: str, quality: float, rng: random.Random) -> Sequence[float]:
    return [float(rng.choice((0, 1, 2))) for _ in RUBRIC.criteria]


def scored(judge: Judge, problems: int = 40, candidates: int = 8, round_: int = 1, rubric: Rubric = RUBRIC) -> list[Scored]:
    """Return scored problems whose answers have a hidden quality (`truth`), and a length that has nothing to do with it."""
    made = []
    for number in range(problems):
        rng = random.Random(f"{round_}/{number}")
        document = Document(id=f"d{number}", text=" ".join(rng.choices(WORDS, k=60)))
        text = f"What about {' '.join(document.text.split()[:10])}?"
        problem = Problem(id=f"{round_}/d{number}/0", document_id=document.id, text=text, reference_answer="two drops")
        answers = [" ".join([f"q{rng.random():.4f}", *rng.choices(WORDS, k=rng.randint(5, 40))]) for _ in range(candidates)]
        rated = [judge(answer, quality_of(answer), rng) for answer in answers]
        evaluations = tuple(
            Evaluation(
                candidate=index,
                ratings=tuple(Rating(criterion=c.name, rating=r) for c, r in zip(rubric.criteria, ratings, strict=True)),
                score=sum(c.weight * r for c, r in zip(rubric.criteria, ratings, strict=True)) / rubric.total_weight,
            )
            for index, ratings in enumerate(rated)
        )
        episode = Episode(
            id=problem.id,
            round=round_,
            document_id=document.id,
            problem=problem,
            candidates=tuple(Candidate(index=i, completion=f"<answer>{a}</answer>", answer=a) for i, a in enumerate(answers)),
            rubric=rubric,
            evaluations=evaluations,
        )
        made.append(Scored(episode, document))
    return made


def quality_of(answer: str) -> float:
    return float(answer.split()[0].removeprefix("q"))


def truth_of(made: Sequence[Scored]) -> ComparisonScores:
    """Return the hidden quality of all answers as comparison scores."""
    return ComparisonScores("the truth", {one.id: {i: 2 * quality_of(a) for i, a in one.answers.items()} for one in made})


class MakeRound(Protocol):
    """The fixture `audited`: a made-up round as an audit sees it, in a run directory that is otherwise empty."""

    def __call__(self, made: Sequence[Scored], **config: Any) -> AuditedRound: ...


def figure(family: Family, name: str) -> Figure:
    return next(figure for figure in family.figures if figure.name == name)


def warned(family: Family) -> set[str]:
    return {figure.name for figure in family.figures if figure.warns}
