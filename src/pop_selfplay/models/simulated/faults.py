"""The ways in which a simulated completion is malformed. Each is one function from the draft to the spoiled text.

A new mistake gets a function, a place in one of the tables below, from which `kinds_for` takes it, and its name in
`config.MistakeName`, so that it can be asked for by itself.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pop_selfplay.config import MistakeName
from pop_selfplay.models.simulated.drafts import Draft, json_draft
from pop_selfplay.records import Role

Mistake = Callable[[Draft], str]


def spoil(draft: Draft, role: Role, rng: random.Random) -> str:
    """Return `draft` with one mistake that `role` can make, drawn by `rng`."""
    return rng.choice(_possible(draft, role))(draft)


def spoiled_by(name: MistakeName, draft: Draft, role: Role) -> str | None:
    """Return `draft` with the mistake `name`, None where `role` cannot make it."""
    return next((kind(draft) for kind in _possible(draft, role) if kind.__name__ == name), None)


def _possible(draft: Draft, role: Role) -> tuple[Mistake, ...]:
    """A judge that compares writes no JSON, and so makes no mistakes in it."""
    return kinds_for(role) if draft.items or role != Role.JUDGE else TAG_MISTAKES


def kinds_for(role: Role) -> tuple[Mistake, ...]:
    """Return every mistake that `role` can make."""
    match role:
        case Role.PROPOSER | Role.SOLVER:
            return TAG_MISTAKES
        case Role.RUBRIC_WRITER:
            return TAG_MISTAKES + JSON_MISTAKES + RUBRIC_MISTAKES
        case Role.JUDGE:
            return TAG_MISTAKES + JSON_MISTAKES + EVALUATION_MISTAKES


def no_tags(draft: Draft) -> str:
    return "\n".join([draft.thoughts, *(body for _, body in draft.blocks)])


def never_closed(draft: Draft) -> str:
    text = draft.render()
    return text[: text.rindex("</")]


def said_twice(draft: Draft) -> str:
    """Open the first tag twice, so that the fault survives generation that stops at the first closing tag."""
    opening = f"<{draft.blocks[0][0]}>"
    return draft.render().replace(opening, f"{opening}\nA first try.\n{opening}", 1)


def empty_tags(draft: Draft) -> str:
    return replace(draft, blocks=tuple((tag, "") for tag, _ in draft.blocks)).render()


def cut_short(draft: Draft) -> str:
    """End amid the thinking, or the first words, as when the tokens run out."""
    written = draft.thoughts or draft.blocks[0][1]
    return written[: len(written) // 2]


def broken_json(draft: Draft) -> str:
    """Lose the end of the JSON, and with it the last item's last value: no repair can bring that back."""
    tag, body = draft.blocks[0]
    return replace(draft, blocks=((tag, body[: body.rindex(",")]),)).render()


def wrong_types(draft: Draft) -> str:
    """Put a list where the number belongs, and a number where the name belongs."""
    return _with_items(draft, [{**item, "name": 7, _number_of(item): ["high"]} for item in draft.items])


def duplicate_names(draft: Draft) -> str:
    return _with_items(draft, [*draft.items, draft.items[0]])


def zero_weight(draft: Draft) -> str:
    return _with_items(draft, [{**item, "weight": 0} for item in draft.items])


def negative_weight(draft: Draft) -> str:
    return _with_items(draft, [*draft.items[:-1], {**draft.items[-1], "weight": -1}])


def omitted_criterion(draft: Draft) -> str:
    return _with_items(draft, list(draft.items[:-1]))


TAG_MISTAKES: Final[tuple[Mistake, ...]] = (no_tags, never_closed, said_twice, empty_tags, cut_short)
JSON_MISTAKES: Final[tuple[Mistake, ...]] = (broken_json, wrong_types)
RUBRIC_MISTAKES: Final[tuple[Mistake, ...]] = (duplicate_names, zero_weight, negative_weight)
EVALUATION_MISTAKES: Final[tuple[Mistake, ...]] = (omitted_criterion,)


def _with_items(draft: Draft, items: list[dict[str, object]]) -> str:
    return json_draft(draft.thoughts, draft.blocks[0][0], tuple(items)).render()


def _number_of(item: dict[str, object]) -> str:
    return "weight" if "weight" in item else "rating"
