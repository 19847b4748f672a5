"""The indexer: a thread that puts every finished episode of a run into its index, with what `_row` works out for it."""

import math
import sqlite3
import statistics
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from pop_selfplay.errors import PopError
from pop_selfplay.journal import Journal
from pop_selfplay.method.expected_rating import rating_in
from pop_selfplay.pairing import pair_of
from pop_selfplay.records import Episode, Evaluation, Failure, PreferencePair
from pop_selfplay.runs.session import Session, watch_again
from pop_selfplay.text.words import count_words
from pop_selfplay.viewer.index import Entry, Index, clear, count_labels, mark_repeats, put

_AT_ONCE: Final = 100
_SECONDS_BETWEEN: Final = 1.0


class Indexer(threading.Thread):
    """Fills the index of a run until `stop` is called, and goes on as the run does."""

    def __init__(self, session: Session, index: Index) -> None:
        super().__init__(name="pop-index", daemon=True)
        self._session, self._index = session, index
        self._stopping = threading.Event()
        self.done = threading.Event()
        """Set once all that was finished is in the index."""
        self.trouble = ""

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                busy, self.trouble = self.step(), ""
            except (PopError, sqlite3.Error, OSError) as error:  # told on the page, and tried again
                busy, self.trouble = False, str(error)
            if not busy:
                self.done.set()
                self._stopping.wait(_SECONDS_BETWEEN)

    def step(self) -> bool:
        """Take in some more episodes, and tell whether there may be others."""
        with watch_again(self._session) as session, self._index.connect() as db:
            if _outdated(db, session.journal):
                clear(db)
            kept = db.execute("SELECT coalesce(max(row), 0) FROM episodes").fetchone()[0]
            new = session.journal.finished_since(kept, _AT_ONCE)
            for row, round_, id_ in new:
                _take_in(db, row, session, session.journal.episode(round_, id_))
            if not new:
                mark_repeats(db, session)
            count_labels(db, session.directory.path)
        return bool(new)


def _outdated(db: sqlite3.Connection, journal: Journal) -> bool:
    """Whether the run has forgotten episodes that are in the index, to play them again: then fewer, or others, failed there."""
    told = Counter({(round_, f"{s}.{reason}"): count for (round_, s, reason), count in journal.tally.episodes.items()})
    stored = Counter({(r, lost): n for r, lost, n in db.execute("SELECT round, lost, count(*) FROM episodes GROUP BY 1, 2")})
    failed = Counter({key: count for key, count in stored.items() if key[1] and not key[1].startswith("pair.")})
    kept, last = db.execute("SELECT coalesce(max(row), 1), id FROM episodes").fetchone()
    moved = last not in (None, *(id_ for _, _, id_ in journal.finished_since(kept - 1, 1)))  # rows at the end are used again
    return stored.total() > told.total() or bool(failed - told) or moved


def _take_in(db: sqlite3.Connection, row: int, session: Session, episode: Episode) -> None:
    made = pair_of(episode, session.domain, session.config.pairing, session.config.seed)
    entry, pair = _row(session, episode, made), made if isinstance(made, PreferencePair) else None
    rubric = "" if episode.rubric is None else "\n".join(f"{c.name} {c.gold} {c.description}" for c in episode.rubric.criteria)
    problem = (episode.problem.text, episode.problem.reference_answer) if episode.problem else ("", "")
    said = (*problem, rubric, *((pair.chosen[0].content, pair.rejected[0].content) if pair else ("", "")))
    put(db, row, entry, [text.encode("utf-8", "replace").decode() for text in said])


def _row(session: Session, episode: Episode, made: PreferencePair | Failure) -> Entry:
    scores = [evaluation.score for evaluation in episode.evaluations]
    best, worst = (max(scores), min(scores)) if scores else (None, None)
    pair = made if isinstance(made, PreferencePair) else None
    return Entry(
        id=episode.id,
        round=episode.round,
        document=episode.document_id,
        lost="" if isinstance(made, PreferencePair) else f"{made.stage}.{made.reason}",
        problem="" if episode.problem is None else episode.problem.text[:400],
        candidates=len(episode.candidates),
        best=best,
        worst=worst,
        spread=None if best is None or worst is None else best - worst,
        apart=None if pair is None else abs(count_words(pair.chosen[0].content) - count_words(pair.rejected[0].content)),
        torn=_torn(episode.evaluations),
        mass=_mass(session.journal, episode) if session.config.synthesis.mode.needs_logprobs else None,
        reference=_above_median(episode, scores),
        labels=0,
    )


def _torn(evaluations: Sequence[Evaluation]) -> float | None:
    """Return how far the ratings are from whole ones, 0 to 1; of comparisons, the share that both orders left undecided."""
    ratings = [rating.rating for evaluation in evaluations for rating in evaluation.ratings]
    if ratings:
        return max(2 * abs(rating - round(rating)) for rating in ratings)
    scores = [comparison.score for evaluation in evaluations for comparison in evaluation.comparisons]
    return statistics.fmean(score in (0, 0.5) for score in scores) if scores else None


def _mass(journal: Journal, episode: Episode) -> float | None:
    """Return the least probability that ratings had together where the judge gave one; None without probabilities."""
    if not episode.evaluations:
        return None
    least = None
    for key, call in journal.calls(episode.id):
        if key.role == "judge" and call.reason in ("", "repaired"):
            for token in call.completion.tokens:
                if rating_in(token.text) is not None and token.alternatives:
                    mass = min(1.0, sum(math.exp(min(0.0, logprob)) for _, logprob in token.alternatives))
                    least = mass if least is None else min(least, mass)
    return least


def _above_median(episode: Episode, scores: Sequence[float]) -> float | None:
    reference = episode.reference_evaluation
    return None if reference is None or not scores else reference.score - statistics.median(scores)
