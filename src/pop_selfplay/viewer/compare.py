"""Two runs, forks or rounds side by side: which episodes both have, and how their figures differ.

Both may have a hundred thousand, so that a comparison is worked out in a thread of its own, once, and again when an index has
changed. Until it is there a page says so, and asks again. A new figure is a line in `_FIGURES`.
"""

import threading
from typing import Final, NamedTuple

from pop_selfplay.report.tables import decimals, estimate_text, percent, plain
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.stats.intervals import SIGNED, Range, paired_difference
from pop_selfplay.viewer.index import PAGE, Index, Measured
from pop_selfplay.viewer.pages import Place, Values
from pop_selfplay.viewer.reading import Shown
from pop_selfplay.viewer.rendering import word_difference

_PATIENCE: Final = 0.08
"""Seconds that a page waits for its comparison: those of small runs are there at once."""


class Change(NamedTuple):
    """A figure in both runs, and the difference on the episodes that both have."""

    name: str
    one: str
    other: str
    difference: str
    n: int


_FIGURES: Final[tuple[tuple[str, str, Range | None], ...]] = (
    ("best score", "best", None),
    ("worst score", "worst", None),
    ("best minus worst", "spread", None),
    ("words between chosen and rejected", "apart", None),
)


class Comparison(NamedTuple):
    """The rows of the episodes that both have, in both indexes, and how the figures differ. `stamp` says of which indexes."""

    stamp: object
    both: list[tuple[int, int]]
    changes: list[Change]


class Asked(NamedTuple):
    """What is compared: the numbers of two runs and their rounds, joined `by` document or problem."""

    one: int
    other: int
    rounds: tuple[int, int]
    by: str


class Comparisons:
    """Every comparison that was asked for, worked out in the background."""

    def __init__(self) -> None:
        self._known: dict[Asked, Comparison] = {}
        self._working: dict[Asked, threading.Thread] = {}

    def find(self, asked: Asked, one: Index, other: Index) -> tuple[Comparison | None, bool]:
        """Return the latest comparison, None before there is one, and whether a later one is being worked out."""
        stamp = (one.stamp(), other.stamp())
        known, working = self._known.get(asked), self._working.get(asked)
        if known is not None and known.stamp == stamp:
            return known, False
        if working is None or not working.is_alive():
            working = threading.Thread(target=self._work, args=(asked, one, other, stamp), daemon=True)
            self._working[asked] = working
            working.start()
        working.join(_PATIENCE)
        known = self._known.get(asked)
        return known, known is None or known.stamp != stamp

    def _work(self, asked: Asked, one: Index, other: Index, stamp: object) -> None:
        left, right = one.round(asked.rounds[0], asked.by), other.round(asked.rounds[1], asked.by)
        both = sorted((left[key], right[key]) for key in left.keys() & right.keys())
        self._known[asked] = Comparison(stamp, [(a.row, b.row) for a, b in both], _changes(both))


def compare_page(comparisons: Comparisons, one: Place, other: Place, asked: Asked, page: int) -> Values:
    """Two runs, forks or rounds side by side: figures with the difference's interval, and the episodes that both have."""
    found, working = comparisons.find(asked, one.index, other.index)
    both = found.both if found else []
    shown = both[PAGE * (max(1, page) - 1) :][:PAGE]
    left, right = one.index.entries([a for a, _ in shown]), other.index.entries([b for _, b in shown])
    return {
        "one": one,
        "other": other,
        "asked": asked,
        "working": working,
        "changes": found.changes if found else [],
        "both": list(zip(left, right, strict=False)) if len(left) == len(right) else [],
        "count": len(both),
        "page": page,
        "pages": max(1, -(-len(both) // PAGE)),
    }


def _changes(both: list[tuple[Measured, Measured]]) -> list[Change]:
    kept = [(float(a.kept), float(b.kept)) for a, b in both]
    found = [_change("episodes that give a pair", kept, [a.document for a, _ in both], SIGNED)]
    for name, field, within in _FIGURES:
        values = [(getattr(a, field), getattr(b, field), a.document) for a, b in both]
        known = [(a, b, document) for a, b, document in values if a is not None and b is not None]
        found.append(_change(name, [(a, b) for a, b, _ in known], [document for _, _, document in known], within))
    return found


def _change(name: str, pairs: list[tuple[float, float]], clusters: list[str], within: Range | None) -> Change:
    if not pairs:
        return Change(name, "", "", "", 0)
    show_ = percent if within == SIGNED else plain
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    difference = ReportedEstimate.of(paired_difference(before, after, clusters, within))
    signed = decimals(1, scale=100, signed=True) if within == SIGNED else decimals(3, signed=True)
    one, other = (show_(sum(values) / len(values)) for values in (before, after))
    return Change(name, one, other, estimate_text(difference, signed), len(pairs))


def beside_page(one: tuple[Place, Shown], other: tuple[Place, Shown]) -> Values:
    """The same document or problem in two runs: problems, rubrics, and the best and worst answers."""
    problems = [shown.episode.problem.text if shown.episode.problem else "" for _, shown in (one, other)]
    best = [shown.answer(shown.extremes[0]) if shown.extremes else "" for _, shown in (one, other)]
    worst = [shown.answer(shown.extremes[1]) if shown.extremes else "" for _, shown in (one, other)]
    texts = {"problem": problems, "best answer": best, "worst answer": worst}
    return {"sides": (one, other), "texts": {name: word_difference(*pair) for name, pair in texts.items()}}
