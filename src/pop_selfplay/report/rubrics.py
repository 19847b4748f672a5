"""What report.html tells about rubrics: how well those of each round separate, and the criteria of the shown episodes."""

from typing import Any, Final

from pop_selfplay.core.quality import Power, below_median, criterion_power
from pop_selfplay.records import Episode
from pop_selfplay.report.figures import decimals, estimate_text
from pop_selfplay.report.markup import escaped, table

_FIGURES: Final = (
    ("criteria.std", "a criterion's ratings within a group: standard deviation, 0 to 1"),
    ("criteria.difference", "two candidates on one criterion: mean difference of their ratings (its power), 0 to 2"),
    ("criteria.rate_all_alike", "criteria by which all candidates of a group fare alike, share"),
    ("verify_agreement", "boxed answers: a right one scores above a wrong one, share; 0.5 is chance"),
)


def rubrics_section(rounds: list[dict[str, Any]]) -> str:
    """Return a table with one row per round and figure; a figure over nothing is left out."""
    rows: list[list[Any]] = []
    for round_ in rounds:
        for name, meaning in _FIGURES:
            figure: Any = round_
            for key in name.split("."):
                figure = figure[key]
            if figure["n"]:
                rows.append([str(round_["round"]), meaning, estimate_text(figure, decimals(3)), figure["n"]])
        references = round_["reference_answers"]
        if references["scored"]:
            share = f"{references['below_median'] / references['scored']:.3f}"
            rows.append(
                [
                    str(round_["round"]),
                    "reference answers that score below the median candidate, share",
                    share,
                    references["scored"],
                ]
            )
    return table(["round", "figure", "value [95 %]", "n"], rows) if rows else "<p>No candidate was rated by a rubric.</p>"


def episode_section(episode: Episode) -> str:
    """Return one scored episode, folded: problem, reference answer, rubric and candidates."""
    assert episode.problem is not None  # the episode did not fail
    scores = {evaluation.candidate: evaluation.score for evaluation in episode.evaluations}
    scored = sorted((c for c in episode.candidates if c.index in scores), key=lambda c: -scores[c.index])
    answers = [[f"{scores[c.index]:.2f}", c.answer] for c in scored]
    return (
        f"<details><summary>{escaped(episode.problem.text[:160])}</summary>"
        f"<h3>Problem</h3><pre>{escaped(episode.problem.text)}</pre>"
        f"<h3>Reference answer</h3><pre>{escaped(episode.problem.reference_answer)}</pre>{_reference(episode)}"
        f"<h3>Rubric</h3>{_rubric(episode)}"
        f"<h3>Candidates, best first</h3>{table(['score', 'answer'], answers)}</details>"
    )


def _reference(episode: Episode) -> str:
    evaluation = episode.reference_evaluation
    if evaluation is None:
        return ""
    flag = ", <b>below the median candidate</b>" if below_median(evaluation, episode.evaluations) else ""
    return f"<p>It scores {evaluation.score:.2f}{flag}.</p>"


def _rubric(episode: Episode) -> str:
    if episode.rubric is None:
        return "<p>None: the final answer was verified.</p>"
    power: dict[str, Power] = {each.criterion: each for each in criterion_power(episode.rubric, episode.evaluations)}
    rows = [
        [c.name, c.weight, f"{power[c.name].difference:.2f}" if c.name in power else "", c.gold, c.description]
        for c in episode.rubric.criteria
    ]
    return table(["criterion", "weight", "power", "gold", "description"], rows)
