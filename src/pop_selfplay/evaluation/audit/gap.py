"""Is checking easier than answering, and would a cheaper way of scoring do? Self-made scores against comparison scores.

`gap` compares rubrics that saw the document with rubrics that did not; `modes` the same candidates by other scoring modes.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.sample import (
    AuditedRound,
    ComparisonScores,
    SecondOpinion,
    over_problems,
    per_problem,
    share_of,
)
from pop_selfplay.journal import Journal, Spent
from pop_selfplay.judging import DEFAULT
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


class _Beside(NamedTuple):
    """What modes are compared with."""

    name: str
    scores: ByProblem


def modes(audited: AuditedRound, played: Played, comparisons: Sequence[ComparisonScores], journal: Journal) -> Family:
    """Return the family of the scoring modes; `journal` is the audit's."""
    family = Family("modes", "Would another way of scoring give the same pairs for less?", audited.options.limits)
    if "modes" in played.unplayable:
        family.missing("modes", "agreement of other modes with pointwise", played.unplayable["modes"])
        return family
    for name, why in played.unplayable.items():
        if name.startswith("modes "):
            family.missing(name.removeprefix("modes "), f"{name.removeprefix('modes ')} against the others", why)
    own = audited.mode.name
    all_modes = {own: {one.id: one.scores for one in audited.sample}} | played.modes
    beside = DEFAULT if all_modes.get(DEFAULT) else own
    base = _Beside(beside, all_modes[beside])
    for name, scores in all_modes.items():
        if name != base.name and not scores:
            family.missing(name, f"{name} against {base.name}", played.why_missing(f"modes {name}"))
        elif name != base.name:
            _against_base(family, name, scores, base)
    _table(family, all_modes, base, comparisons, audited, journal)
    return family


def _against_base(family: Family, name: str, scores: ByProblem, base: _Beside) -> None:
    family.measured(
        f"{name}.spearman",
        f"rank correlation of {name} with {base.name}",
        over_problems(per_problem(spearman, scores, base.scores), SIGNED),
        form="number",
        good="on the same candidates, with the same rubrics",
    )
    family.measured(
        f"{name}.best_worst",
        f"best/worst by {name} points the same way as by {base.name}",
        share_of({id_: [value] for id_, value in per_problem(best_worst, scores, base.scores).items()}),
        limit="modes.best_worst",
        good=f"its pairs would mostly be the same as with {base.name}",
        bad=f"its pairs would often differ from those by {base.name}: see which of the two is right more often",
    )


def _table(
    family: Family,
    all_modes: Mapping[str, ByProblem],
    base: _Beside,
    comparisons: Sequence[ComparisonScores],
    audited: AuditedRound,
    journal: Journal,
) -> None:
    """Add what each mode costs for a problem, and how often its pairs are right by each comparison."""
    rows = []
    for name, scores in all_modes.items():
        if not scores:
            continue
        own = name == audited.mode.name
        places = [(one.id if own else f"audit/modes {name}/{one.id}") for one in audited.sample if one.id in scores]
        spent = [(audited.session.journal if own else journal).spent(place, Role.JUDGE) for place in places]
        right = [_percent(per_problem(best_worst, scores, comparison.scores)) for comparison in comparisons]
        rows.append((name, f"{len(scores)}", *_for_each(spent), *right))
    columns = ("scoring", "problems", "judge calls", "prompt tokens", "cached", "generated")
    right_columns = tuple(f"best/worst as {comparison.name}" for comparison in comparisons)
    family.details.append(Detail(f"for each problem; compared with {base.name}", (*columns, *right_columns), tuple(rows)))


def _for_each(spent: Sequence[Spent]) -> list[str]:
    return [f"{sum(part) / len(spent):,.1f}" for part in zip(*spent, strict=True)]


def _percent(values: Mapping[str, float]) -> str:
    return f"{sum(values.values()) / len(values):.1%}" if values else "nothing to compare"
