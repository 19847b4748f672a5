"""The closed-book exam of the pocket world: what does the model know by heart, checked against the exact truth.

Greedy and sampled answers are kept apart, and so are the plants of the self-play documents and the held-out ones. A fact counts
as known when it is stated right without a hedge; right but hedged, wrong and left out are reported beside. Intervals are
clustered by plant, because facts about one plant are learned together."""

from typing import Final

from pop_selfplay.config import ExamMeasure
from pop_selfplay.journal.notes import ExamResult, Facts
from pop_selfplay.method.parsing import parse_answer
from pop_selfplay.pocket.world import ExamQuestion, World, grade
from pop_selfplay.records import Failure, Role
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import Change, Measure, Outcomes, OutcomeShares
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.stats.intervals import SHARES, SIGNED, clustered_mean, paired_difference
from pop_selfplay.tasks import together

EXAM_SEED: Final = 77  # the questions are the same in every run, so that runs can be compared
MEASURE_ROUND: Final = 0


async def sit_exam(cast: Cast, label: str, config: ExamMeasure) -> ExamResult:
    """Ask `cast`'s solver every exam question, greedily once and sampled `config.samples` times; `label` names this sitting."""
    world = World()
    result: ExamResult = {}
    for group, plants in (("self_play", world.self_play), ("held_out", world.held_out)):
        questions = world.exam(plants, config.questions_per_plant, EXAM_SEED)
        for mode, temperature, repeats in (("greedy", 0.0, 1), ("sampled", 1.0, config.samples)):
            answers = await together(
                _answer(cast, question, f"measure/{label}/{group}/{mode}/{number}", repeat, temperature)
                for number, question in enumerate(questions)
                for repeat in range(repeats)
            )
            asked = [question for question in questions for _ in range(repeats)]
            facts = [fact for q, answer in zip(asked, answers, strict=True) for fact in _facts(world, q, answer)]
            result.setdefault(group, {})[mode] = facts
    return result


def compare(before: ExamResult, after: ExamResult) -> Measure:
    """Return, per group and mode, accuracy before and after, their paired difference and the shares of each outcome."""
    return {group: {mode: _compare(old, after[group][mode]) for mode, old in modes.items()} for group, modes in before.items()}


def _compare(before: Facts, after: Facts) -> Change:
    plants = [plant for plant, _ in before]
    old, new = ([float(outcome == "known") for _, outcome in facts] for facts in (before, after))
    return Change(
        before=ReportedEstimate.of(clustered_mean(old, plants, SHARES)),
        after=ReportedEstimate.of(clustered_mean(new, plants, SHARES)),
        gain=ReportedEstimate.of(paired_difference(old, new, plants, SIGNED)),
        outcomes=Outcomes(before=_shares(before), after=_shares(after)),
    )


async def _answer(cast: Cast, question: ExamQuestion, episode: str, repeat: int, temperature: float) -> str:
    messages = cast.domain.render("solve", problem=question.text)
    asked = Question(MEASURE_ROUND, episode, Role.SOLVER, str(repeat), messages)
    answer = await ask(cast, asked, parse_answer, attempts=range(1), temperature=temperature)
    return "" if isinstance(answer, Failure) else answer  # an answer that does not parse states no fact


def _facts(world: World, question: ExamQuestion, answer: str) -> Facts:
    verdicts = grade(world, question.entity, question.attributes, answer)
    return [(question.entity, verdicts[attribute].outcome) for attribute in question.attributes]


def _shares(facts: Facts) -> OutcomeShares:
    outcomes = [outcome for _, outcome in facts]
    return OutcomeShares(**{o: round(outcomes.count(o) / len(outcomes), 6) for o in OutcomeShares.model_fields})
