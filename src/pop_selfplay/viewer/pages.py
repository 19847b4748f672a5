"""What each page shows: a function from what was asked to the values of a template in templates/.

The form for labels is blind; `labels_of` makes labels of a filled one. What compares two runs is in compare.py.

Texts of models and documents go into templates as they are; those escape everything, and only rendering.py makes HTML of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlencode

from pop_selfplay import labels
from pop_selfplay.journal.files import is_locked
from pop_selfplay.labels import Label
from pop_selfplay.method.problems import has_gold
from pop_selfplay.records import REFERENCE, Evaluation, Failure
from pop_selfplay.seeds import derive_seed
from pop_selfplay.viewer.index import PAGE, QUEUES, SORTS, Entry, Index, Query
from pop_selfplay.viewer.indexer import Indexer
from pop_selfplay.viewer.reading import Called, Run, Shown, filled, supported
from pop_selfplay.viewer.rendering import Part, word_difference

Values = dict[str, object]
"""The values of a template."""

REASONS: Final = {
    "pair.no_spread": "All candidates score alike (pairing.min_std), so there is no best and worst.",
    "pair.too_easy": "The mean score is above the band of pairing.frontier.",
    "pair.too_hard": "The mean score is below the band of pairing.frontier.",
    "pair.narrow": "The scores vary less than pairing.frontier asks for.",
    "pair.length_gap": "Best and worst differ by more words than pairing.max_word_difference allows.",
    "pair.identical": "The best and the worst candidate are the same text.",
    "pair.near_duplicate_problem": "Another problem of the run says nearly the same (pairing.near_duplicate_problems).",
    "pair.reference_below_median": "The reference answer scores below the median candidate (pairing.reference_below_median).",
    "solver.too_few_valid": "Too few candidates parsed (synthesis.min_valid_share); their refused calls are below.",
    "judge.too_few_scored": "Too few candidates were scored (synthesis.min_valid_share); the judge's refused calls are below.",
}
_ATTEMPTS: Final = "No attempt of the {role} parsed; the refused calls are below."


@dataclass(frozen=True)
class Place:
    """A run in the viewer: its number in addresses, its directory, and its index."""

    number: int
    run: Run
    index: Index
    indexer: Indexer

    @property
    def working(self) -> bool:
        return is_locked(self.run.path / "run.lock")


def whole_number(text: str) -> int:
    """Return the number that an address gives, one too large for anything to have it where it has too many digits; else −1."""
    return -1 if not text.isdecimal() else int(text) if len(text) < 10 else 10**9


def query_of(asked: Mapping[str, str]) -> Query:
    """Return what a list's address asks for; what makes no sense in it is left out."""

    def number(name: str) -> float | None:
        try:
            return float(asked.get(name, ""))
        except ValueError:
            return None

    round_, page, spread = number("round"), number("page"), number("min_spread")
    known = {name: asked.get(name, "")[:500] for name in ("text", "lost", "kept", "document", "labelled", "queue", "sort")}
    return Query(
        **known,
        round=int(round_) if round_ is not None and abs(round_) < 1e9 else None,
        min_spread=spread if spread is not None and abs(spread) < 1e9 else None,
        page=int(min(max(page or 1, 1), 1e6)) if page == page else 1,
    )


def address(query: Query, page: int | None = None) -> str:
    """Return the part of a list's address that asks for `query`."""
    given = {**asdict(query), "page": query.page if page is None else page}
    return urlencode({name: value for name, value in given.items() if value not in ("", None) and (name, value) != ("page", 1)})


def home_page(places: Sequence[Place], domain: str) -> Values:
    """All runs, or those of one `domain`."""
    domains = sorted({place.run.session.domain.name for place in places})
    shown = [place for place in places if domain not in domains or place.run.session.domain.name == domain]
    return {"domains": domains, "domain": domain, "shown": shown, "lives": {place.number: live(place) for place in shown}}


def list_page(place: Place, query: Query) -> Values:
    """The episodes of a run."""
    found, counts = place.index.find(query), place.index.counts()
    return {
        "place": place,
        "query": query,
        "entries": found.entries,
        "count": found.count,
        "pages": max(1, -(-found.count // PAGE)),
        "rounds": sorted({round_ for round_, _ in counts}),
        "reasons": sorted({lost for _, lost in counts if lost}),
        "live": live(place),
        "here": address(query),
        "address": address,
        "sorts": SORTS,
        "queues": QUEUES,
    }


def live(place: Place) -> dict[str, int | bool | str]:
    """How far the run and its index are: what an open list asks for every few seconds."""
    with place.run.look() as session:
        tally = session.journal.tally
    return {
        "finished": tally.episodes.total(),
        "indexed": sum(place.index.counts().values()),
        "calls": tally.calls.total(),
        "working": place.working,
        "trouble": place.indexer.trouble,
    }


class Row(NamedTuple):
    """One candidate in the heat map: its ratings by criterion, None where the mode gives none."""

    candidate: int
    evaluation: Evaluation
    ratings: tuple[float | None, ...]
    mark: str


def episode_page(place: Place, shown: Shown, cell: str, back: str) -> Values:
    """One episode. `cell` is candidate.criterion (from 1) of the open cell of its heat map, `back` the list it came from."""
    entry = place.index.entry(shown.episode.id)
    query = query_of({name: values[0] for name, values in parse_qs(back).items()})
    before, after = place.index.neighbours(query, shown.episode.id)
    rubric = shown.episode.rubric
    criteria = rubric.criteria if rubric else ()
    golds = [criterion.gold if has_gold(criterion) else "" for criterion in criteria]
    sentences, rows = supported(shown.document.text, golds), _rows(shown)
    return {
        "place": place,
        "shown": shown,
        "episode": shown.episode,
        "lost": _lost(shown, entry),
        "criteria": criteria,
        "rows": rows,
        "verified": any(row.evaluation.verified is not None for row in rows),
        "cell": _cell(shown, cell),
        "sentences": sentences,
        "resting": {number for sentence in sentences for number in sentence.golds},
        "difference": _difference(shown),
        "calls": shown.calls,
        "labels": [label for label in labels.read(place.run.path) if label.episode == shown.episode.id],
        "before": before,
        "after": after,
        "back": back,
    }


class Lost(NamedTuple):
    """Why an episode gives no pair: stage.reason, what that means, and the detail that was recorded."""

    reason: str
    meaning: str
    detail: str


def _lost(shown: Shown, entry: Entry | None) -> Lost | None:
    made = shown.made
    reason = f"{made.stage}.{made.reason}" if isinstance(made, Failure) else entry.lost if entry else ""
    if not reason:
        return None
    role = reason.partition(".")[0].replace("_", " ")
    return Lost(reason, REASONS.get(reason, _ATTEMPTS.format(role=role)), made.detail if isinstance(made, Failure) else "")


def _rows(shown: Shown) -> list[Row]:
    names = [criterion.name for criterion in shown.episode.rubric.criteria] if shown.episode.rubric else []
    marks = dict(zip(shown.extremes, ("best", "worst"), strict=True)) if shown.extremes else {}
    marks[REFERENCE] = "reference"
    rows = []
    for index, evaluation in shown.evaluations.items():
        by_name = {rating.criterion: rating.rating for rating in evaluation.ratings}
        rows.append(Row(index, evaluation, tuple(by_name.get(name) for name in names), marks.get(index, "")))
    return rows


@dataclass(frozen=True)
class Cell:
    """An open cell: a candidate's answer beside what the judge said of it on one criterion, or on the whole (criterion 0)."""

    name: str
    candidate: int
    answer: str
    criterion: str
    gold: str
    rating: float | None
    thoughts: str
    calls: list[Called]


def _cell(shown: Shown, name: str) -> Cell | None:
    index, _, number = name[:20].partition(".")
    rubric = shown.episode.rubric
    if not index.removeprefix("-").isdecimal() or not number.isdecimal() or int(index) not in shown.evaluations:
        return None
    candidate, place = int(index), int(number) - 1
    criterion = rubric.criteria[place] if rubric and 0 <= place < len(rubric.criteria) else None
    ratings = {rating.criterion: rating for rating in shown.evaluations[candidate].ratings}
    rating = ratings.get(criterion.name) if criterion else None
    thoughts = [rating] if rating else list(ratings.values())
    return Cell(
        name=name,
        candidate=candidate,
        answer=shown.answer(candidate),
        criterion=criterion.name if criterion else "",
        gold=criterion.gold if criterion else "",
        rating=rating.rating if rating else None,
        thoughts="\n\n".join(f"{r.criterion}: {r.thoughts}" if not rating else r.thoughts for r in thoughts if r.thoughts),
        calls=[called for called in shown.calls if _about(called, candidate, place if criterion else None)],
    )


def _about(called: Called, candidate: int, place: int | None) -> bool:
    """Tell whether a call of the judge is about a candidate, and about the criterion at `place` where it is about one."""
    item = called.key.item.partition("#")[0]
    if called.key.role != "judge":
        return False
    if ":" in item:
        return str(candidate) in item.split(":")
    index, _, criterion = item.partition(".")
    return index == str(candidate) and (place is None or not criterion or criterion == str(place))


class Difference(NamedTuple):
    """Best and worst side by side, with the words that only one of them has."""

    best: int
    worst: int
    left: list[Part]
    right: list[Part]


def _difference(shown: Shown) -> Difference | None:
    if shown.extremes is None:
        return None
    best, worst = shown.extremes
    return Difference(best, worst, *word_difference(shown.answer(best), shown.answer(worst)))


def call_page(place: Place, shown: Shown, role: str, item: str, attempt: str) -> Values | None:
    """One call: the prompt as it was filled, and the whole completion. None where there is no such call."""
    for called in shown.calls:
        if (called.key.role, called.key.item, str(called.key.attempt)) == (role, item, attempt):
            return {"place": place, "shown": shown, "called": called, "filled": filled(shown, called)}
    return None


class Fight(NamedTuple):
    """A prompt of a duel with both answers, the words that only one of them has, and what the judge said."""

    item: Mapping[str, object]
    left: list[Part]
    right: list[Part]


def outcome_page(number: int, items: list[Mapping[str, object]], page: str) -> Values:
    """A directory of `pop eval` or `pop duel`: its figures, and some prompts of a duel."""
    place = max(1, min(whole_number(page), 10**6))
    shown = items[PAGE * (place - 1) : PAGE * place]
    fights = [Fight(item, *word_difference(str(item["a"]), str(item["b"]))) for item in shown]
    return {"number": number, "fights": fights, "page": place, "pages": max(1, -(-len(items) // PAGE))}


class Choice(NamedTuple):
    """The two answers to be compared, in an order that hides which one is the better: candidates and their answers."""

    first: int
    second: int


def choice_of(shown: Shown, author: str) -> Choice | None:
    """Return best and worst in an order drawn for this person and episode; None where there are no two."""
    if shown.extremes is None:
        return None
    turned = derive_seed("label", shown.episode.id, author) % 2
    return Choice(*(reversed(shown.extremes) if turned else shown.extremes))


def label_page(place: Place, shown: Shown, author: str) -> Values:
    """The form to label an episode, blind: nothing on it tells what the judge said."""
    given = [label for label in labels.read(place.run.path) if label.episode == shown.episode.id and label.author == author]
    return {
        "place": place,
        "shown": shown,
        "episode": shown.episode,
        "choice": choice_of(shown, author),
        "criteria": shown.episode.rubric.criteria if shown.episode.rubric else (),
        "marks": labels.MARKS,
        "given": given,
        "author": author,
        "left": place.index.find(Query(labelled="no", kept="kept")).count,
    }


def next_to_label(place: Place, author: str) -> str:
    """Return a scored episode that `author` has not labelled, drawn by a hash of its id; "" where none is left."""
    done = {label.episode for label in labels.read(place.run.path) if label.author == author}
    return place.index.drawn(done)


def _choice_in(form: Mapping[str, str], shown: Shown) -> Choice | None:
    """Return the two answers in the order that the form showed them, whoever its author came to be."""
    if shown.extremes is None:
        return None
    first, second = shown.extremes
    orders = {str(first): Choice(first, second), str(second): Choice(second, first)}
    if form.get("first") not in orders:
        raise ValueError(f"{form.get('first')!r:.80} is none of the two answers")
    return orders[form["first"]]


def labels_of(form: Mapping[str, str], shown: Shown, author: str) -> list[Label]:
    """Return the labels that a filled form gives. Raises ValueError for an answer that is none of those offered."""
    base = {"episode": shown.episode.id, "author": author, "time": labels.now(), "note": form.get("note", "").strip()}
    found, choice = [], _choice_in(form, shown)
    if choice is not None and form.get("better"):
        found.append(
            Label.model_validate(
                {**base, "kind": "preference", "candidate": choice.first, "other": choice.second, "better": form["better"]}
            )
        )
    criteria = shown.episode.rubric.criteria if shown.episode.rubric else ()
    for side, candidate in zip(("first", "second"), choice or (), strict=False):
        for place, criterion in enumerate(criteria):
            if rating := form.get(f"rating-{side}-{place}"):
                rated = {**base, "kind": "rating", "candidate": candidate, "criterion": criterion.name, "rating": rating}
                found.append(Label.model_validate(rated))
    for mark in labels.MARKS:
        if form.get(f"mark-{mark}"):
            found.append(Label.model_validate({**base, "kind": "mark", "mark": mark}))
    return found
