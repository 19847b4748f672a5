"""Blind labelling: the form of an episode, which episode comes next, and the labels that a filled form gives."""

from collections.abc import Mapping
from typing import NamedTuple

from pop_selfplay import labels
from pop_selfplay.labels import Label
from pop_selfplay.seeds import derive_seed
from pop_selfplay.viewer.index import Query
from pop_selfplay.viewer.pages import Place, Values
from pop_selfplay.viewer.reading import Shown


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


def labels_of(form: Mapping[str, str], shown: Shown, author: str) -> list[Label]:
    """Return the labels that a filled form gives. Raises ValueError for an answer that is none of those offered."""
    base = {"episode": shown.episode.id, "author": author, "time": labels.now(), "note": form.get("note", "").strip()}
    found, choice = [], choice_of(shown, author)
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
