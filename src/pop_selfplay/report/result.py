"""The figures of a run: `result.json`, computed from the journal alone, at any time of the run.

A new figure is a field in results/run.py, gathered here episode by episode in `_Found`, or read from the journal in `_round`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pop_selfplay.evaluation.measure import between, comparison
from pop_selfplay.evaluation.rounds import best_model, decisions, stopped
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.notes import SECONDS, TRAINING
from pop_selfplay.method.problems import ALIKE, below_median, criterion_power, verify_agreement
from pop_selfplay.pairing import look_through, paired_problems, problem_clusters
from pop_selfplay.records import Episode, Failure, PreferencePair, Role
from pop_selfplay.report.page import render_page
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.run import (
    CallCost,
    CriterionFigures,
    Decision,
    Measure,
    ProposerPairs,
    ReferenceFigures,
    RoleCost,
    RoundResult,
    RunResult,
    Seconds,
)
from pop_selfplay.runs.lineage import lineage_of
from pop_selfplay.runs.session import Session, watch_session
from pop_selfplay.stages.refusals import last_words
from pop_selfplay.stats.intervals import SHARES, clustered_mean


def write_result(session: Session, measured: Measure) -> RunResult:
    """Compute the result, write result.json and report.html, and return it."""
    result = compute_result(session, measured)
    write_atomically(session.directory.result_path, result.to_json())
    write_atomically(session.directory.report_path, render_page(session, result))
    return result


def refresh_page(path: Path) -> None:
    """Write the report.html of a run again, where it has one, with what was put beside it since: an audit, say."""
    with watch_session(path) as session:
        if session.directory.report_path.is_file():
            page = render_page(session, compute_result(session, comparison(session)))
            write_atomically(session.directory.report_path, page)


def compute_result(session: Session, measured: Measure) -> RunResult:
    """Return the figures of a run, finished or not. Every lost document, problem and pair is in `dropped` with its reason."""
    config, usage = session.config, _usage(session)
    return RunResult(
        domain=session.domain.name,
        seed=config.seed,
        document=set(config.synthesis.document_for) == {Role.PROPOSER, Role.RUBRIC_WRITER},
        rounds=_rounds(session, usage),
        usage=usage,
        stopped=stopped(session),
        model=best_model(session),
        roles={role: dict(sorted(reasons.items())) for role, reasons in session.journal.tally.calls_by_role().items()},
        refusals=dict(last_words(session.journal)),
        measure=measured,
    )


@dataclass
class Quality:
    """Figures of one round, gathered episode by episode. Intervals are 95 % ones, by whole documents."""

    stds: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)  # the document of each criterion in stds and differences
    agreements: list[float] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    references: int = 0
    below_median: int = 0

    def add(self, episode: Episode) -> None:
        """Take in one episode; one that failed adds nothing."""
        if episode.rubric is not None:
            for power in criterion_power(episode.rubric, episode.evaluations):
                self.stds.append(power.std)
                self.differences.append(power.difference)
                self.documents.append(episode.document_id)
        agreement = verify_agreement(episode.evaluations)
        if agreement is not None:
            self.agreements.append(agreement)
            self.agreeing.append(episode.document_id)
        if episode.reference_evaluation is not None:
            self.references += 1
            self.below_median += below_median(episode.reference_evaluation, episode.evaluations)

    @property
    def criteria(self) -> CriterionFigures:
        """How well criteria tell candidates apart; a figure over nothing has n 0 and no mean."""
        alike = [float(std < ALIKE) for std in self.stds]
        return CriterionFigures(
            std=ReportedEstimate.of(clustered_mean(self.stds, self.documents, SHARES)),
            difference=ReportedEstimate.of(clustered_mean(self.differences, self.documents, (0, 2))),
            rate_all_alike=ReportedEstimate.of(clustered_mean(alike, self.documents, SHARES)),
        )

    @property
    def verify_agreement(self) -> ReportedEstimate:
        """How often a right final answer scores above a wrong one."""
        return ReportedEstimate.of(clustered_mean(self.agreements, self.agreeing, SHARES))

    @property
    def reference_answers(self) -> ReferenceFigures:
        return ReferenceFigures(scored=self.references, below_median=self.below_median)


class _Found:
    """What the episodes of one round came to."""

    def __init__(self, corpus_drops: dict[str, int]) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped = Counter({f"corpus.{reason}": count for reason, count in corpus_drops.items()})
        self.proposer_dropped: Counter[str] = Counter()
        self.quality = Quality()

    def add(self, episode: Episode, outcome: PreferencePair | Failure) -> None:
        """Take in one finished episode with its pair, taken by itself, or why it gives none."""
        self.counts["problems"] += episode.problem is not None
        self.counts["candidates"] += len(episode.candidates)
        self.counts["rubrics"] += episode.rubric is not None
        self.counts["evaluations"] += len(episode.evaluations)
        self.quality.add(episode)
        if isinstance(outcome, Failure):
            self.dropped[f"{outcome.stage}.{outcome.reason}"] += 1
        else:
            self.counts["pairs"] += 1

    @property
    def proposer(self) -> ProposerPairs:
        return ProposerPairs(pairs=self.counts["proposer_pairs"], dropped=dict(sorted(self.proposer_dropped.items())))

    def drop_repeats(self, count: int) -> None:
        """Take back so many pairs, whose problems nearly repeat others."""
        self.counts["pairs"] -= count
        if count:
            self.dropped["pair.near_duplicate_problem"] += count

    def add_problems(self, outcome: PreferencePair | Failure) -> None:
        if isinstance(outcome, Failure):
            self.proposer_dropped[f"{outcome.stage}.{outcome.reason}"] += 1
        else:
            self.counts["proposer_pairs"] += 1


def _usage(session: Session) -> tuple[RoleCost, ...]:
    """Return what each role used in each round, the measurements being round 0: all that the budget counts."""
    tally = session.journal.tally
    calls: Counter[tuple[int, str]] = Counter()
    for (round_, role, _), count in tally.calls.items():
        calls[round_, role] += count
    return tuple(
        RoleCost(
            round=used.round,
            role=used.role,
            calls=calls[used.round, used.role],
            prompt=used.prompt,
            cached=used.cached,
            generated=used.generated,
            money=round(used.money, 6),
        )
        for used in session.account.usage(tally)
    )


def _rounds(session: Session, usage: Sequence[RoleCost]) -> tuple[RoundResult, ...]:
    config, journal, stop = session.config, session.journal, stopped(session)
    rounds = range(1, (config.rounds if stop is None else stop.round) + 1)
    found = {number: _Found(journal.corpus_drops(number)) for number in rounds}
    clusters = problem_clusters(session.domain, config.pairing)
    for number in rounds:
        repeats = look_through(journal, number, session.domain, config.pairing, config.seed, clusters, found[number].add)
        found[number].drop_repeats(len(repeats))
    for number, made in paired_problems(journal, rounds, session.domain, config.synthesis, config.pairing, config.seed):
        found[number].add_problems(made)
    return tuple(_round(session, number, found[number], usage) for number in rounds)


def _round(session: Session, number: int, found: _Found, usage: Sequence[RoleCost]) -> RoundResult:
    journal, tally = session.journal, session.journal.tally
    counts, costs = found.counts, {cost.role: cost for cost in usage if cost.round == number}
    return RoundResult(
        round=number,
        documents=len(journal.document_ids(number)),
        problems=counts["problems"],
        candidates=counts["candidates"],
        rubrics=counts["rubrics"],
        evaluations=counts["evaluations"],
        pairs=counts["pairs"],
        dropped=dict(sorted(found.dropped.items())),
        proposer=None if session.config.pairing.proposer is None else found.proposer,
        criteria=found.quality.criteria,
        verify_agreement=found.quality.verify_agreement,
        reference_answers=found.quality.reference_answers,
        lineage=lineage_of(session, number),
        decisions=tuple(
            Decision(before=decided.before, rule=decided.rule, says=decided.says, figures=decided.figures)
            for decided in decisions(session)
            if decided.round == number
        ),
        measure=between(session, 0, number),
        tokens=tally.all_tokens(number),
        usage={role: CallCost.model_validate(cost.model_dump(exclude={"round", "role"})) for role, cost in costs.items()},
        training=TRAINING.read(journal, number),
        seconds=Seconds(**{phase: _seconds(session, number, phase) for phase in Seconds.model_fields}),
    )


def _seconds(session: Session, number: int, phase: str) -> float:
    return round(SECONDS.read(session.journal, f"{number}/{phase}") or 0.0, 2)
