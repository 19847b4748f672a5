"""The figures of a run: `result.json`, computed from the journal alone, at any time of the run.

They need every finished episode. Reading a hundred thousand takes minutes, so that the process which plays them keeps a summary
of each in `summary.db` beside the run (`Summaries`); what is missing there is read from the journal. The file may be removed.

A new figure is a field in results/run.py. What it needs of an episode is a field of `Summary`, gathered in `_Found`; what it
needs of the journal is read in `_round`.
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pop_selfplay.evaluation.measure import between, comparison
from pop_selfplay.evaluation.rounds import best_model, decisions, stopped
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.notes import SECONDS, TRAINING
from pop_selfplay.method.problems import ALIKE, below_median, criterion_power, verify_agreement
from pop_selfplay.pairing import pair_of, paired_problems, problem_clusters
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
from pop_selfplay.stats.intervals import SHARES, Array, clustered_mean, mean_of_totals
from pop_selfplay.text.overlap import Bands, meeting, shingle_set


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


class Summary(NamedTuple):
    """What the figures of a run need of one finished episode: a row of `summary.db`.

    `lost` is stage.reason where the episode by itself gives no pair, else "". `problem` and `rubric` are 1 where there is one;
    `powers` holds standard deviation and difference of each criterion, as float64; `reference` whether the reference answer is
    below the median, None where it has no score. Of a pair, `text` and `bands` are the problem and what `Bands` makes of it.
    """

    id: str
    round: int
    document: str
    lost: str
    problem: int
    candidates: int
    rubric: int
    evaluations: int
    powers: bytes
    agreement: float | None
    reference: int | None
    text: str = ""
    bands: bytes = b""


def summarise(episode: Episode, outcome: PreferencePair | Failure, bands: Bands | None = None) -> Summary:
    """Return the summary of a finished episode with its pair, taken by itself, or why it gives none."""
    powers = criterion_power(episode.rubric, episode.evaluations) if episode.rubric else ()
    reference = episode.reference_evaluation
    text = episode.problem.text if episode.problem and isinstance(outcome, PreferencePair) and bands is not None else ""
    words = shingle_set(text)
    return Summary(
        id=episode.id,
        round=episode.round,
        document=episode.document_id,
        lost=f"{outcome.stage}.{outcome.reason}" if isinstance(outcome, Failure) else "",
        problem=int(episode.problem is not None),
        candidates=len(episode.candidates),
        rubric=int(episode.rubric is not None),
        evaluations=len(episode.evaluations),
        powers=np.array([(power.std, power.difference) for power in powers], dtype=np.float64).tobytes(),
        agreement=verify_agreement(episode.evaluations),
        reference=None if reference is None else int(below_median(reference, episode.evaluations)),
        text=text,
        bands=np.array(bands.keys(words), dtype=np.uint64).tobytes() if bands is not None and words.size else b"",
    )


SUMMARIES: Final = "summary.db"
WORTH_KEEPING: Final = 1000  # episodes, from which on whoever wants the figures keeps the summaries that were missing
_VERSION: Final = "1"
_COLUMNS: Final = ", ".join(Summary._fields)


class Summaries:
    """The summaries of a run's episodes, kept in a file where that can be; else they are gone with this object."""

    def __init__(self, session: Session, *, keep: bool) -> None:
        """Open the file, made where there is none if they are to be kept. Summaries by other rules of pairing are left out."""
        self._session, config = session, session.config
        threshold = config.pairing.near_duplicate_problems if session.domain.problem_checks else None
        self._bands = None if threshold is None else Bands(threshold)
        rules = (_VERSION, session.journal.run_id, str(config.seed), config.pairing.model_dump_json(), str(threshold))
        path = session.directory.path / SUMMARIES
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        try:
            self._set_up(sqlite3.connect(path if keep or path.is_file() else ":memory:", isolation_level=None), rules)
        except (sqlite3.Error, OSError):  # a disk that cannot be written, say
            self._set_up(sqlite3.connect(":memory:", isolation_level=None), rules)

    def _set_up(self, db: sqlite3.Connection, rules: tuple[str, ...]) -> None:
        self._db.close()
        self._db = db
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("CREATE TABLE IF NOT EXISTS rules (rules TEXT NOT NULL)")
        db.execute(f"CREATE TABLE IF NOT EXISTS summaries ({_COLUMNS}, PRIMARY KEY (id))")
        if db.execute("SELECT rules FROM rules").fetchone() != (repr(rules),):
            db.execute("DELETE FROM summaries")
        db.execute("DELETE FROM rules")
        db.execute("INSERT INTO rules VALUES (?)", (repr(rules),))  # also tells whether it can be written

    def close(self) -> None:
        self._db.close()

    def add(self, episode: Episode) -> Summary:
        """Take in a finished episode and return its summary. Where that cannot be kept, it is made again from the journal."""
        outcome = pair_of(episode, self._session.domain, self._session.config.pairing, self._session.config.seed)
        row = summarise(episode, outcome, self._bands)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute(f"INSERT OR REPLACE INTO summaries VALUES ({', '.join('?' * len(row))})", row)
        return row

    def read(self) -> list[Summary]:
        """Return the summaries of all finished episodes, by round and id."""
        journal, told = self._session.journal, Counter[tuple[int, str]]()
        for (round_, stage, reason), count in journal.tally.episodes.items():
            told[round_, f"{stage}.{reason}"] += count
        finished = {id_: round_ for round_ in {r for r, _ in told if r} for id_ in journal.finished_episodes(round_)}
        known: list[Summary] = []
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("BEGIN")
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM summaries").fetchall()
            known = [row for row in map(Summary._make, rows) if row.id in finished]
        failed = Counter((row.round, row.lost) for row in known if row.lost and not row.lost.startswith("pair."))
        if failed - told:  # some were played again since, and ended otherwise
            known = []
        made = [self.add(journal.episode(finished[id_], id_)) for id_ in finished.keys() - {row.id for row in known}]
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("COMMIT")
        return sorted([*known, *made], key=lambda row: (row.round, row.id))


@dataclass
class Quality:
    """Figures of one round, gathered episode by episode. Intervals are 95 % ones, by whole documents."""

    powers: list[bytes] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)  # the document of each criterion in powers
    agreements: list[float] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    references: int = 0
    below_median: int = 0

    def add(self, summary: Summary) -> None:
        """Take in one episode; one that failed adds nothing."""
        self.powers.append(summary.powers)
        self.documents += [summary.document] * (len(summary.powers) // 16)
        if summary.agreement is not None:
            self.agreements.append(summary.agreement)
            self.agreeing.append(summary.document)
        if summary.reference is not None:
            self.references += 1
            self.below_median += summary.reference

    @property
    def criteria(self) -> CriterionFigures:
        """How well criteria tell candidates apart; a figure over nothing has n 0 and no mean."""
        powers = np.frombuffer(b"".join(self.powers), dtype=np.float64).reshape(-1, 2)
        places: dict[str, int] = {}
        which = np.array([places.setdefault(document, len(places)) for document in self.documents], dtype=np.intp)

        def mean(values: Array, within: tuple[float, float]) -> ReportedEstimate:
            sums = [np.bincount(which, of, len(places)) for of in (values, np.ones(len(values)))]
            return ReportedEstimate.of(mean_of_totals(np.array(sums, dtype=np.float64).T, len(values), within))

        std, difference, alike = powers[:, 0], powers[:, 1], (powers[:, 0] < ALIKE).astype(np.float64)
        return CriterionFigures(std=mean(std, SHARES), difference=mean(difference, (0, 2)), rate_all_alike=mean(alike, SHARES))

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

    def add(self, summary: Summary) -> None:
        """Take in one finished episode, with its pair taken by itself, or why it gives none."""
        for name, count in zip(("problems", "candidates", "rubrics", "evaluations"), summary[4:8], strict=True):
            self.counts[name] += count
        self.quality.add(summary)
        self.counts["pairs"] += not summary.lost
        if summary.lost:
            self.dropped[summary.lost] += 1

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
    with contextlib.closing(Summaries(session, keep=journal.tally.episodes.total() >= WORTH_KEEPING)) as summaries:
        rows = [row for row in summaries.read() if row.round in found]
    for row in rows:
        found[row.round].add(row)
    for number, gone in repeated(session, rows):
        found[number].drop_repeats(len(gone))
    for number, made in paired_problems(journal, rounds, session.domain, config.synthesis, config.pairing, config.seed):
        found[number].add_problems(made)
    return tuple(_round(session, number, found[number], usage) for number in rounds)


def repeated(session: Session, rows: Sequence[Summary]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each round with its pairs that go because their problems nearly repeat others (method/problems.py): id → id."""
    clusters, able = problem_clusters(session.domain, session.config.pairing), [row for row in rows if row.bands]
    if clusters is None or not able:
        return
    meet = meeting(np.frombuffer(b"".join(row.bands for row in able), dtype=np.uint64).reshape(len(able), -1))
    for number, group in groupby(zip(able, meet, strict=True), key=lambda pair: pair[0].round):
        yield number, clusters.add_round({row.id: row.text for row, meets in group if meets})


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
