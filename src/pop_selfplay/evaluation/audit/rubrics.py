"""Are the rubrics any good? What they hold, how far they tell answers apart, and whether the reference answer wins by them."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.sample import Material, Scored, over_problems, share_of
from pop_selfplay.method.rubrics import ALIKE, criterion_power, generic_criteria, has_gold, rating_correlations
from pop_selfplay.stats.agreement import above

REDUNDANT: Final = 0.9
"""Two criteria are redundant where their ratings correlate this much or more."""

_SHOWN: Final = 5


def rubrics(material: Material, played: Played) -> Family:
    """Return the family of the rubrics."""
    family = Family(
        "rubrics", "Do the rubrics ask for the right things, and tell good answers from bad?", material.options.limits
    )
    having = [one for one in material.scored if one.rubric is not None]
    if not having:
        family.missing("rubrics", "rubrics", "the run verifies answers, without rubrics")
        return family
    _contents(family, having)
    _separation(family, having, material)
    _reference(family, material, played)
    return family


def _contents(family: Family, having: Sequence[Scored]) -> None:
    by_id = {one.id: one.rubric for one in having if one.rubric is not None}
    generic = generic_criteria(by_id)
    family.measured(
        "criteria",
        "criteria of a rubric",
        over_problems({id_: float(len(rubric.criteria)) for id_, rubric in by_id.items()}),
        form="number",
        good="on average",
    )
    family.measured(
        "gold",
        "criteria with a gold answer",
        share_of({id_: [float(has_gold(c)) for c in rubric.criteria] for id_, rubric in by_id.items()}),
        limit="rubrics.gold",
        good="most criteria give the right answer, taken from the document",
        bad="most criteria do not give the right answer: the judge has to know it, like the solver",
    )
    family.measured(
        "generic",
        "generic criteria",
        share_of({id_: [float(flag) for flag in flags] for id_, flags in generic.items()}),
        limit="rubrics.generic",
        good="criteria are specific to their problems (generic: no gold answer, and a name or text that fits any problem)",
        bad="many criteria fit any problem (clarity, accuracy …): they reward style",
    )
    names = Counter(c.name for id_, r in by_id.items() for c, flag in zip(r.criteria, generic[id_], strict=True) if flag)
    if names:
        rows = tuple((name, str(count)) for name, count in names.most_common(_SHOWN))
        family.details.append(Detail("most frequent generic criteria", ("name", "rubrics"), rows))


def _separation(family: Family, having: Sequence[Scored], material: Material) -> None:
    if not material.mode.rates_criteria:
        why = f"scoring {material.mode.name} gives no ratings by criterion"
        family.missing("separation", "separation by each criterion", why)
        family.missing("redundant", "redundant pairs of criteria", why)
        return
    powers = {one.id: criterion_power(one.rubric, one.episode.evaluations) for one in having if one.rubric is not None}
    family.measured(
        "separation",
        "standard deviation of a criterion's ratings within a problem",
        share_of({id_: [power.std for power in found] for id_, found in powers.items()}),
        form="number",
        good="from 0 (all candidates rated alike) to 1",
    )
    family.measured(
        "rate_all_alike",
        "criteria that rate all candidates alike",
        share_of({id_: [float(power.std < ALIKE) for power in found] for id_, found in powers.items()}),
        limit="rubrics.rate_all_alike",
        good="most criteria separate candidates",
        bad="many criteria change no ranking: their calls are wasted, and pairs depend on the few others",
    )
    links = {one.id: rating_correlations(one.rubric, one.episode.evaluations) for one in having if one.rubric is not None}
    several = {id_: [float(r >= REDUNDANT) for r in found] for id_, found in links.items() if found}
    if not several:
        family.missing("redundant", "redundant pairs of criteria", "no rubric has two criteria that both separate candidates")
        return
    family.measured(
        "redundant",
        f"pairs of criteria whose ratings correlate by {REDUNDANT} or more",
        share_of(several),
        limit="rubrics.redundant",
        good="criteria look at different things",
        bad="criteria repeat each other: what they have in common counts several times",
    )


def _reference(family: Family, material: Material, played: Played) -> None:
    label = "problems whose reference answer wins or ties for first place"
    if not played.references:
        family.missing("reference_wins", label, played.why_missing("references"))
        return
    scored = {one.id: one for one in material.sample}
    wins = {id_: 1.0 if found.score >= max(scored[id_].scores.values()) else 0.0 for id_, found in played.references.items()}
    below = {
        id_: 1 - above(found.score, statistics.median(scored[id_].scores.values())) for id_, found in played.references.items()
    }
    family.measured(
        "reference_wins",
        label,
        share_of({id_: [won] for id_, won in wins.items()}),
        good="it was written with the document in view",
    )
    family.measured(
        "reference_below_median",
        "problems whose reference answer is below the median candidate",
        share_of({id_: [float(value == 1)] for id_, value in below.items()}),
        limit="rubrics.reference_below_median",
        good="rubrics reward what the document says",
        bad="rubrics reward something other than what the document says, or the reference answers are bad",
    )
