"""Would a cheaper way of scoring do? The same candidates by other modes, next to pointwise and comparison scores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.references import Yardstick
from pop_selfplay.evaluation.audit.sample import Material, over_problems, per_problem, share_of
from pop_selfplay.journal import Journal, Spent
from pop_selfplay.judging import DEFAULT
from pop_selfplay.records import Role
from pop_selfplay.stats.agreement import best_worst, spearman
from pop_selfplay.stats.intervals import SIGNED

ByProblem = Mapping[str, Mapping[int, float]]


class _Beside(NamedTuple):
    """What modes are compared with."""

    name: str
    scores: ByProblem


def modes(material: Material, played: Played, yardsticks: Sequence[Yardstick], journal: Journal) -> Family:
    """Return the family of the scoring modes; `journal` is the audit's."""
    family = Family("modes", "Would another way of scoring give the same pairs for less?", material.options.limits)
    if "modes" in played.unplayable:
        family.missing("modes", "agreement of other modes with pointwise", played.unplayable["modes"])
        return family
    for name, why in played.unplayable.items():
        if name.startswith("modes "):
            family.missing(name.removeprefix("modes "), f"{name.removeprefix('modes ')} against the others", why)
    own = material.mode.name
    all_modes = {own: {one.id: one.scores for one in material.sample}} | played.modes
    beside = DEFAULT if all_modes.get(DEFAULT) else own
    base = _Beside(beside, all_modes[beside])
    for name, scores in all_modes.items():
        if name != base.name and not scores:
            family.missing(name, f"{name} against {base.name}", played.why_missing(f"modes {name}"))
        elif name != base.name:
            _against(family, name, scores, base)
    _table(family, all_modes, base, yardsticks, material, journal)
    return family


def _against(family: Family, name: str, scores: ByProblem, base: _Beside) -> None:
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
    yardsticks: Sequence[Yardstick],
    material: Material,
    journal: Journal,
) -> None:
    """Add what each mode costs for a problem, and how often its pairs are right by each yardstick."""
    rows = []
    for name, scores in all_modes.items():
        if not scores:
            continue
        own = name == material.mode.name
        places = [(one.id if own else f"audit/modes {name}/{one.id}") for one in material.sample if one.id in scores]
        spent = [(material.session.journal if own else journal).spent(place, Role.JUDGE) for place in places]
        right = [_percent(per_problem(best_worst, scores, yardstick.scores)) for yardstick in yardsticks]
        rows.append((name, f"{len(scores)}", *_for_each(spent), *right))
    columns = ("scoring", "problems", "judge calls", "prompt tokens", "cached", "generated")
    right_columns = tuple(f"best/worst as {yardstick.name}" for yardstick in yardsticks)
    family.details.append(Detail(f"for each problem; compared with {base.name}", (*columns, *right_columns), tuple(rows)))


def _for_each(spent: Sequence[Spent]) -> list[str]:
    return [f"{sum(part) / len(spent):,.1f}" for part in zip(*spent, strict=True)]


def _percent(values: Mapping[str, float]) -> str:
    return f"{sum(values.values()) / len(values):.1%}" if values else "nothing to compare"
