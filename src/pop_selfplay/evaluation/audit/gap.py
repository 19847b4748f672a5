"""Is checking easier than answering? Self-made scores against comparison scores, by rubrics with and without the document."""

from collections.abc import Mapping, Sequence
from typing import Final

from pop_selfplay.evaluation.audit.findings import Family
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.sample import (
    AuditedRound,
    ComparisonScores,
    SecondOpinion,
    over_problems,
    per_problem,
    share_of,
)
from pop_selfplay.records import Role
from pop_selfplay.stats.comparisons import best_worst, spearman
from pop_selfplay.stats.intervals import SIGNED

PAPER: Final = {"spearman": {True: "0.3424", False: "0.3301"}, "best_worst": {True: "85.14 %", False: "82.04 %"}}
"""Measure → whether the rubric's writer saw the document → the paper's figure (5.5)."""

_SAW: Final = {True: "with document", False: "without document"}

ByProblem = Mapping[str, Mapping[int, float]]


def gap(audited: AuditedRound, played: Played, comparisons: Sequence[ComparisonScores], judged: SecondOpinion | None) -> Family:
    """Return the family of the generation-verification gap."""
    family = Family(
        "gap", "Does the rubric know better than the solver, and is that thanks to the document?", audited.options.limits
    )
    own = Role.RUBRIC_WRITER in audited.config.synthesis.document_for
    scored = {one.id: one.scores for one in audited.sample}
    rewritten = {id_: found.scores for id_, found in played.rubrics.items()}
    if not comparisons:
        why = "nothing to compare with: the truth is only known in the pocket world, so name a stronger judge with --judge"
        family.missing("agreement", "agreement with comparison scores", why)
    for comparison in comparisons:
        if rewritten:
            both = {id_: scores for id_, scores in scored.items() if id_ in rewritten}
            _against(family, comparison, {own: both, not own: rewritten}, own)
        else:
            _against(family, comparison, {own: scored}, own)
            why = played.why_missing("rubrics")
            family.missing(f"gain.{comparison.name}", f"what the document adds, by {comparison.name}", why)
    _each_other(family, scored, rewritten, played)
    _by_rubric(family, scored, judged)
    return family


def _against(family: Family, comparison: ComparisonScores, variants: Mapping[bool, ByProblem], own: bool) -> None:
    found: dict[tuple[str, bool], dict[str, float]] = {}
    for saw in sorted(variants, reverse=True):
        ranked = found["spearman", saw] = per_problem(spearman, variants[saw], comparison.scores)
        extremes = found["best_worst", saw] = per_problem(best_worst, variants[saw], comparison.scores)
        family.measured(
            f"spearman.{comparison.name}.{_SAW[saw]}",
            f"rank correlation with {comparison.name}, rubric {_SAW[saw]}",
            over_problems(ranked, SIGNED),
            form="number",
            limit="gap.spearman" if saw == own else "",
            good="how closely self-made scores rank the answers to a problem in the same order (1 is always, 0 is chance)",
            bad="self-made scores hardly rank answers in the same order: check the rubrics before you train",
            paper=PAPER["spearman"][saw],
        )
        family.measured(
            f"best_worst.{comparison.name}.{_SAW[saw]}",
            f"best/worst points the same way as {comparison.name}, rubric {_SAW[saw]}",
            share_of({id_: [value] for id_, value in extremes.items()}),
            limit="gap.best_worst" if saw == own else "",
            good="how often the chosen answer is really the better one (50 % is chance, ties count half)",
            bad="too many pairs point the wrong way: training on them teaches errors",
            paper=PAPER["best_worst"][saw],
        )
    if len(variants) == 2:
        both = found["best_worst", True].keys() & found["best_worst", False].keys()
        gains = {id_: found["best_worst", True][id_] - found["best_worst", False][id_] for id_ in sorted(both)}
        family.measured(
            f"gain.{comparison.name}",
            f"what the document adds to best/worst, by {comparison.name}",
            over_problems(gains, SIGNED),
            limit="gap.document_gain",
            good="how much more often pairs are right with the document, on the same problems",
            bad="the document does not improve pairs: the rubric writer does not use it, or is misled by it",
        )


def _each_other(family: Family, scored: ByProblem, rewritten: ByProblem, played: Played) -> None:
    label = "rank correlation of both rubrics' scores with each other"
    if not rewritten:
        family.missing("with_without", label, played.why_missing("rubrics"))
        return
    family.measured(
        "with_without",
        label,
        over_problems(per_problem(spearman, scored, rewritten), SIGNED),
        form="number",
        good="near 1 the document changes no ranking; the lower, the more of the ranking comes from the document",
    )


def _by_rubric(family: Family, scored: ByProblem, judged: SecondOpinion | None) -> None:
    label = "rank correlation with a second judge by the run's own rubric"
    if judged is None:
        family.missing("judge_by_rubric", label, "no second judge: name one with --judge")
        return
    family.measured(
        "judge_by_rubric",
        label,
        over_problems(per_problem(spearman, scored, judged.by_rubric.scores), SIGNED),
        form="number",
        limit="gap.judge_by_rubric",
        good="the run's judge applies the rubric much like a second judge that sees the document",
        bad="the run's judge applies its own rubric differently from a second judge: the judge is weak, not the rubric",
    )
