"""Do the scores still mean something after some rounds, and what does a kept pair cost?

`hacking` follows self-made scores beside comparison scores, round by round; `yields` counts where episodes go, by stage and
reason, in calls and tokens, and what was accepted though it only echoes a prompt.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from pop_selfplay.config import ExamMeasure
from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.sample import AuditedRound, ComparisonScores, Scored, share_of
from pop_selfplay.journal import Journal
from pop_selfplay.journal.notes import EXAM
from pop_selfplay.method.echo import echo_in, repeats_problem
from pop_selfplay.method.parsing import Proposal
from pop_selfplay.method.rewards import SCORES
from pop_selfplay.pairing import paired
from pop_selfplay.records import Candidate, PreferencePair, Role
from pop_selfplay.runs.session import Session
from pop_selfplay.stats.intervals import (
    SHARES,
    Estimate,
    Indices,
    bootstrap,
    bootstrap_totals,
    clustered_mean,
    totals_by_cluster,
    wilson,
)

_MOST_LOOKED_AT: Final = 500
"""Of the scored episodes, for echoes."""


def hacking(audited: AuditedRound, rounds: Mapping[int, Sequence[Scored]], comparisons: Sequence[ComparisonScores]) -> Family:
    """Return the family of reward hacking. `rounds` holds the sampled episodes of every round that has any."""
    family = Family("hacking", "Do self-made scores and real quality diverge over the rounds?", audited.options.limits)
    _exam(family, audited.session)
    if audited.mode.score_range is None:
        why = f"scores by {audited.mode.name} are relative to their group and say nothing about its level"
        family.missing("drift", "rise of self-made scores beyond the comparison scores", why)
        return family
    if not comparisons:
        why = "nothing to compare with: the truth is only known in the pocket world, so name a second judge with --judge"
        family.missing("drift", "rise of self-made scores beyond the comparison scores", why)
        return family
    for comparison in comparisons:
        _followed(family, comparison, rounds, audited.config.seed)
    return family


def _followed(family: Family, comparison: ComparisonScores, rounds: Mapping[int, Sequence[Scored]], seed: int) -> None:
    levels = {number: _levels(sample, comparison) for number, sample in rounds.items()}
    levels = {number: found for number, found in levels.items() if found}
    rows = tuple(
        (f"{number}", f"{len(found)}", *(f"{statistics.fmean(pair[part] for pair in found.values()):.3f}" for part in (0, 1)))
        for number, found in levels.items()
    )
    name = comparison.name
    family.details.append(
        Detail(f"mean of all candidates, 0 to 1, compared with {name}", ("round", "problems", "self-made", name), rows)
    )
    label = f"rise of self-made scores beyond {name}, of the whole scale"
    if len(levels) < 2:
        family.missing(f"drift.{name}", label, "needs two rounds with scored episodes")
        return
    first, last = min(levels), max(levels)
    family.measured(
        f"drift.{name}",
        f"{label}, round {first} to {last}",
        _drift(levels[first], levels[last], seed),
        form="number",
        limit="hacking.drift",
        good="self-made scores rise no more than real quality",
        bad="self-made scores rise but quality does not: the model learns its judge's weaknesses; stop here",
    )


def _levels(sample: Sequence[Scored], comparison: ComparisonScores) -> dict[str, tuple[float, float]]:
    """Return problem id → mean self-made score and mean comparison score of the same candidates, both in [0, 1]."""
    found = {}
    for one in sample:
        both = sorted(one.scores.keys() & comparison.scores.get(one.id, {}).keys())
        if both:
            _, best = SCORES
            own, real = one.scores, comparison.scores[one.id]
            found[one.id] = (
                statistics.fmean(own[index] for index in both) / best,
                statistics.fmean(real[index] for index in both) / best,
            )
    return found


def _drift(first: Mapping[str, tuple[float, float]], last: Mapping[str, tuple[float, float]], seed: int) -> Estimate:
    """Return by how much (self-made − comparison) rose, drawn by whole documents within both rounds together."""
    ids = [*first, *last]
    apart = np.array([own - real for own, real in (*first.values(), *last.values())])
    late = np.array([False] * len(first) + [True] * len(last))

    def rise(chosen: Indices) -> float:
        new = late[chosen]
        if new.all() or not new.any():
            return float("nan")
        return float(apart[chosen][new].mean() - apart[chosen][~new].mean())

    return bootstrap(rise, [id_.rpartition("/")[0] for id_ in ids], seed=seed)


def _exam(family: Family, session: Session) -> None:
    """Add the closed-book exam of every round, where the run has one: held-out truth that no score can bend."""
    if not isinstance(session.config.measure, ExamMeasure):
        return
    rows = []
    for number in range(session.config.rounds + 1):
        for group, by_mode in (EXAM.read(session.journal, number) or {}).items():
            if facts := by_mode.get("greedy"):
                right = [float(outcome == "known") for _, outcome in facts]
                known = clustered_mean(right, [plant for plant, _ in facts], SHARES)
                shown = f"{known.mean:.1%} [{known.low:.1%}, {known.high:.1%}]"
                rows.append((f"{number}", group.replace("_", " "), shown, f"{known.n}"))
    if rows:
        family.details.append(
            Detail("closed-book exam after each round, greedy", ("round", "plants", "facts known", "n"), tuple(rows))
        )


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
    for value in said:
        repeated = isinstance(value, Candidate) and repeats_problem(value.answer, problem.text)
        yield float(repeated or echo_in(value, "", fixed) is not None)


def _audit_cost(family: Family, journal: Journal) -> None:
    tally = journal.tally
    calls = sum(tally.calls.values())
    if calls:
        row = (f"{calls:,}", *(f"{tally.total_tokens(kind):,}" for kind in ("prompt", "cached", "generated")))
        family.details.append(Detail("the audit's own calls", ("calls", "prompt tokens", "cached", "generated"), (row,)))
