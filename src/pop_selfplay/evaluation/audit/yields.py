"""What does a kept pair cost, and would a cheaper way of scoring do?

`yields` counts where episodes go, by stage and reason, in calls and tokens, and what was accepted though it only echoes a
prompt; `modes` scores the same candidates in other ways, and says what each one costs.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.gap import ByProblem
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.sample import AuditedRound, ComparisonScores, Scored, over_problems, per_problem, share_of
from pop_selfplay.journal import Journal, Spent
from pop_selfplay.judging import DEFAULT
from pop_selfplay.judging.comparing import ComparingMode
from pop_selfplay.method.echo import echo_in, repeats_problem
from pop_selfplay.method.parsing import Proposal, Rejection
from pop_selfplay.pairing import paired
from pop_selfplay.records import Candidate, PreferencePair, Role
from pop_selfplay.stats.comparisons import best_worst, spearman
from pop_selfplay.stats.intervals import (
    SIGNED,
    Estimate,
    bootstrap_totals,
    totals_by_cluster,
    wilson,
)

_MOST_LOOKED_AT: Final = 500
"""Of the scored episodes, for echoes."""


def yields(audited: AuditedRound, audit_journal: Journal) -> Family:
    """Return the family of the yield. Of the audit's own calls a table says what they cost."""
    family = Family(
        "yield", "What is lost on the way from documents to pairs, and what does a pair cost?", audited.options.limits
    )
    kept: dict[str, float] = {}
    lost: Counter[str] = Counter()
    session, config = audited.session, audited.config
    for episode, outcome in paired(session.journal, audited.round, session.domain, config.pairing, config.seed):
        if episode.round == audited.round:
            kept[episode.id] = float(isinstance(outcome, PreferencePair))
            if not isinstance(outcome, PreferencePair):
                lost[f"{outcome.stage}.{outcome.reason}"] += 1
    clusters = [id_.rpartition("/")[0] for id_ in kept]
    family.measured(
        "kept",
        "episodes that give a pair",
        share_of({id_: [value] for id_, value in kept.items()}),
        limit="yield.kept",
        good="most of what is paid for is used",
        bad="most of what is paid for is lost: see below where",
    )
    _cost(family, audited, kept, clusters)
    _calls(family, audited)
    _echoes(family, audited)
    rows = tuple((reason, f"{count:,}", f"{count / len(kept):.1%}") for reason, count in lost.most_common())
    if rows:
        family.details.append(Detail("episodes lost, by stage and reason", ("lost", "episodes", "share"), rows))
    _audit_cost(family, audit_journal)
    return family


def _cost(family: Family, audited: AuditedRound, kept: dict[str, float], clusters: list[str]) -> None:
    spent = audited.session.journal.spent_by_episode(audited.round)
    prices = {role.value: audited.session.casting.prices(audited.round, role) for role in Role}
    generated = [float(sum(of.generated for of in spent.get(id_, {}).values())) for id_ in kept]
    read = [float(sum(of.prompt for of in spent.get(id_, {}).values())) for id_ in kept]
    money = [
        sum(
            price.money(of.prompt, of.cached, of.generated)
            for role, of in spent.get(id_, {}).items()
            if (price := prices[role]) is not None
        )
        for id_ in kept
    ]
    free = "no model of the run has prices (set `prices` of an endpoint)"
    for name, label, costs, why in (
        ("generated_tokens", "tokens generated for each kept pair", generated, "the run has spent no tokens on this round"),
        ("prompt_tokens", "prompt tokens read for each kept pair", read, "the run has spent no tokens on this round"),
        ("money", "money for each kept pair", money, free),
    ):
        if not any(kept.values()):
            family.missing(name, label, "no pair was kept")
        elif not any(costs):
            family.missing(name, label, why)
        else:
            estimate = for_each_pair(costs, list(kept.values()), clusters, audited.config.seed)
            family.measured(name, label, estimate, form="number", good="all roles and refused calls included")


def for_each_pair(costs: Sequence[float], kept: Sequence[float], clusters: Sequence[str], seed: int) -> Estimate:
    """Return Σ costs / Σ kept.

    What is drawn anew is its inverse, pairs for each unit of cost: a draw may keep no pair, but always costs something.
    """
    totals = totals_by_cluster(list(zip(kept, costs, strict=True)), clusters)
    rate = bootstrap_totals(lambda sums: sums[:, 0] / sums[:, 1], totals, len(costs), seed=seed)
    high = 1 / rate.low if rate.low > 0 else math.inf
    return Estimate(1 / rate.mean, 1 / rate.high if rate.high > 0 else 0.0, high, round(sum(kept)))


def _calls(family: Family, audited: AuditedRound) -> None:
    tally = audited.session.journal.tally
    rows = []
    for role in Role:
        calls = {r: n for (number, by, r), n in tally.calls.items() if number == audited.round and by == role.value}
        total = sum(calls.values())
        if not total:
            continue
        refused = {reason: count for reason, count in calls.items() if reason not in ("", "repaired")}
        share = Estimate(sum(refused.values()) / total, *wilson(sum(refused.values()) / total, total), total)
        family.measured(
            f"refused.{role.value}",
            f"calls of the {role.value.replace('_', ' ')} that did not parse",
            share,
            limit="yield.refused",
            good="few calls are wasted",
            bad="many calls are wasted: docs/run-directory.md says what helps for each reason",
        )
        tokens = [tally.tokens[audited.round, role.value, kind] for kind in ("prompt", "cached", "generated")]
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(refused.items(), key=lambda item: -item[1]))
        rows.append((role.value, f"{total:,}", *(f"{count:,}" for count in tokens), reasons))
    columns = ("role", "calls", "prompt tokens", "cached", "generated", "refused because")
    family.details.append(Detail("calls of the round", columns, tuple(rows)))


def _echoes(family: Family, audited: AuditedRound) -> None:
    """Add how much of what the run accepted is a prompt's own text: runs of older versions and changed prompts have some."""
    looked_at = audited.scored[:_MOST_LOOKED_AT]
    by_role = {role: {scored.id: list(_echoed(audited, scored, role)) for scored in looked_at} for role in Role}
    found = {id_: [value for of in by_role.values() for value in of[id_]] for id_ in (scored.id for scored in looked_at)}
    family.measured(
        "echoes",
        "accepted problems, answers, rubrics and evaluations that only echo a prompt",
        share_of(found),
        limit="yield.echoes",
        good="nothing that was accepted is the prompt's own text",
        bad="the run trained on its own prompts: play it again, with a larger model or other prompts",
    )
    rows = []
    for role, of in by_role.items():
        values = [value for one in of.values() for value in one]
        rows.append((role.value, f"{len(values):,}", f"{round(sum(values)):,}"))
    family.details.append(Detail("accepted texts that look like echoes", ("role", "looked at", "echoes"), tuple(rows)))


def _echoed(audited: AuditedRound, scored: Scored, role: Role) -> Iterator[float]:
    """Yield 1 for each thing that `role` wrote for an episode and that is an echo, 0 for each that is its own."""
    fixed, problem = audited.session.domain.fixed_text(role), scored.problem
    said: Sequence[object] = ()
    match role:
        case Role.PROPOSER:
            said = (Proposal(problem.text, problem.reference_answer),)
        case Role.SOLVER:
            said = scored.episode.candidates
        case Role.RUBRIC_WRITER:
            said = (scored.rubric,) if scored.rubric is not None else ()
        case Role.JUDGE:
            said = tuple(one.ratings for one in scored.episode.evaluations if any(r.thoughts for r in one.ratings))
            yield from _echoed_verdicts(audited, scored.id)
    for value in said:
        repeated = isinstance(value, Candidate) and repeats_problem(value.answer, problem.text)
        yield float(repeated or echo_in(value, "", fixed) is not None)


def _echoed_verdicts(audited: AuditedRound, id_: str) -> Iterator[float]:
    """Yield the same for each comparison: of these a score is all that an episode keeps, so they are read from their calls."""
    mode = audited.config.synthesis.mode
    if isinstance(mode, ComparingMode):
        fixed = audited.session.domain.fixed_text(Role.JUDGE)
        for text in audited.session.journal.accepted(id_, Role.JUDGE):
            verdict = mode.parse(text)
            if not isinstance(verdict, Rejection):
                yield float(echo_in(verdict.value, text, fixed) is not None)


def _audit_cost(family: Family, journal: Journal) -> None:
    tally = journal.tally
    calls = sum(tally.calls.values())
    if calls:
        row = (f"{calls:,}", *(f"{tally.total_tokens(kind):,}" for kind in ("prompt", "cached", "generated")))
        family.details.append(Detail("the audit's own calls", ("calls", "prompt tokens", "cached", "generated"), (row,)))


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
