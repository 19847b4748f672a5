"""What each simulated role means to write, and the ways in which that goes wrong.

What the judge is asked for follows from the tags that the prompt names; its verdicts follow from prose.py. A new role, or a new
way to judge, gets a function here and a line in `draft_for`. A new mistake gets a function, a place in one of the tables from
which `kinds_for` takes it, and its name in `config.MistakeName`, so that it can be asked for by itself.
"""

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pop_selfplay.config import MistakeName
from pop_selfplay.models.base import ChatRequest, Token
from pop_selfplay.models.simulated.prose import WORDS, Lengths, first_is_better, length, marks, prose, rating, rating_odds
from pop_selfplay.records import Message, Role

_TAGGED_ANSWER: Final = re.compile(r"<(answer|candidate_answer)>(.*?)</\1>", re.DOTALL)
_TAGGED_CRITERIA: Final = re.compile(r"<(rubric|criterion)>((?:(?!<\1>).)*?)</\1>", re.DOTALL)  # not from a mere mention on
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Draft:
    """Thinking aloud, then tagged blocks in order. Where `items` is set there is one block, and it holds them as JSON."""

    thoughts: str
    blocks: tuple[tuple[str, str], ...]
    items: tuple[dict[str, object], ...] = ()

    def render(self) -> str:
        """Return the completion, well formed."""
        parts = [f"<{tag}>\n{body}\n</{tag}>" for tag, body in self.blocks]
        return "\n".join([self.thoughts, *parts] if self.thoughts else parts)

    def render_by_schema(self) -> str:
        """Return the completion as a server decodes it by a JSON schema: bare, its thoughts inside (method/rubric_json.py)."""
        (tag, body), *_ = self.blocks
        return json.dumps({"thoughts": self.thoughts, "criteria": self.items}) if tag == "rubric" else body


def json_draft(thoughts: str, tag: str, items: tuple[dict[str, object], ...]) -> Draft:
    """Return a draft whose block `tag` holds {"criterion_1": items[0], "criterion_2": …}."""
    body = json.dumps({f"criterion_{number}": item for number, item in enumerate(items, start=1)})
    return Draft(thoughts, ((tag, body),), items)


def draft_for(role: Role, messages: tuple[Message, ...], rng: random.Random, lengths: Lengths) -> Draft:
    """Return what `role` writes when asked `messages`."""
    match role:
        case Role.PROPOSER:
            return _proposal(messages, rng, lengths)
        case Role.SOLVER:
            thoughts = prose(rng, length(rng, lengths.thinking, 0.4)) if lengths.thinking else ""
            return Draft(thoughts, (("answer", _final_answer(messages, rng, length(rng, lengths.answer, lengths.spread))),))
        case Role.RUBRIC_WRITER:
            return _rubric(rng, lengths)
        case Role.JUDGE:
            return _judgement(messages, rng, lengths)


def _proposal(messages: tuple[Message, ...], rng: random.Random, lengths: Lengths) -> Draft:
    asked = f"{prose(rng, length(rng, lengths.problem, 0.3))} What follows for the {' '.join(rng.sample(WORDS, 3))}?"
    answer = _final_answer(messages, rng, length(rng, lengths.reference))
    return Draft(_aloud(rng, lengths), (("problem", asked), ("answer", answer)))


def _rubric(rng: random.Random, lengths: Lengths) -> Draft:
    items = tuple(
        {
            "name": f"{kind} of the {subject}",
            "gold": prose(rng, length(rng, lengths.gold)),
            "description": prose(rng, length(rng, lengths.description, 0.3)),
            "weight": rng.randint(1, 5),
        }
        for kind, subject in zip(
            rng.sample(("Place", "Cause", "Order", "Amount", "Use"), rng.randint(*lengths.criteria)),
            rng.sample(WORDS, 5),
            strict=False,
        )
    )
    return json_draft(_aloud(rng, lengths), "rubric", items)


def _judgement(messages: tuple[Message, ...], rng: random.Random, lengths: Lengths) -> Draft:
    asked, shown = "\n".join(message.content for message in messages), messages[-1].content
    if "<better_answer>" in asked:
        better = "A" if first_is_better(*_two_answers(shown)) else "B"
        return Draft(prose(rng, length(rng, lengths.comparing)), (("better_answer", better),))
    if "<rating_A>" in asked:
        first, second = marks(*_two_answers(shown))
        return Draft(prose(rng, length(rng, lengths.comparing)), (("rating_A", str(first)), ("rating_B", str(second))))
    answer = judged_answer(shown)
    items = tuple(
        {"name": name, "thoughts": prose(rng, length(rng, lengths.judging)), "rating": rating(answer, name)}
        for name in criterion_names(shown)
    )
    return json_draft(_aloud(rng, lengths), "evaluation", items)


def _aloud(rng: random.Random, lengths: Lengths) -> str:
    return prose(rng, length(rng, lengths.thinking)) if lengths.thinking_for_all else ""


def _final_answer(messages: tuple[Message, ...], rng: random.Random, words: int) -> str:
    """Prose, with a boxed value at the end where the prompt speaks of one."""
    boxed = any("\\boxed" in message.content for message in messages)
    return f"{prose(rng, words)} \\boxed{{{rng.randint(0, 9)}}}" if boxed else prose(rng, words)


def judged_answer(prompt: str) -> str:
    """The candidate's answer in a judge's prompt: the longest tagged one, else all that stands before the first JSON object."""
    answers = [match[2].strip() for match in _TAGGED_ANSWER.finditer(prompt)]
    return max(answers, key=len) if answers else prompt.partition("{")[0].strip()


def _two_answers(prompt: str) -> tuple[str, str]:
    """The answers of a comparison, from <answer_a> and <answer_b>; from a prompt without these tags its two halves."""
    found = [re.search(rf"<answer_{letter}>(.*?)</answer_{letter}>", prompt, re.DOTALL | re.IGNORECASE) for letter in "ab"]
    first, second = (match[1].strip() if match else "" for match in found)
    return (first, second) if first and second else (prompt[: len(prompt) // 2], prompt[len(prompt) // 2 :])


def criterion_names(prompt: str) -> list[str]:
    """Names of the criteria in a judge's prompt, from its tagged JSON or else from the first JSON object that names any."""
    for text in [match[2] for match in _TAGGED_CRITERIA.finditer(prompt)] + [prompt]:
        for brace in re.finditer(r"\{", text):
            try:
                value, _ = _DECODER.raw_decode(text, brace.start())
            except (ValueError, RecursionError):
                continue
            items = [value] if "name" in value else list(value.values())
            names = [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]
            if names:
                return names
    return ["overall"]


_ELSE: Final = 0.01
"""How likely the judge finds it to write something else than a rating."""
_TOKENS: Final = re.compile(r'\{"|":|,| "|\d|\w+|.', re.DOTALL)
_Alternatives = tuple[tuple[str, float], ...]
_VALUE: Final = re.compile(r"(?<=: )\d|\A\d")


def probable_ratings(request: ChatRequest, rng: random.Random, *, malformed: bool) -> tuple[str, tuple[Token, ...]]:
    """Return the judge's text and its tokens with `request.top_logprobs` alternatives at most."""
    prompt = request.messages[-1].content
    answer = judged_answer(prompt)
    names = criterion_names(prompt)
    ratings = [rating(answer, name) for name in names]
    text = ", ".join(f'"{number}": {given}' for number, given in enumerate(ratings, 1))
    text = f"{{{text}}}" if request.stop in ("", "}") else f"{ratings[0]}{request.stop}"
    if malformed:
        spoiled = rng.choice(_MISTAKES)(text, request.stop)
        return spoiled, _tokens(spoiled, lambda _, piece: _sure(piece))
    odds = {match.start(): rating_odds(answer, name) for match, name in zip(_VALUE.finditer(text), names, strict=False)}
    return text, _tokens(text, lambda place, piece: _torn(odds[place], request.top_logprobs) if place in odds else _sure(piece))


def _tokens(text: str, alternatives: Callable[[int, str], _Alternatives]) -> tuple[Token, ...]:
    return tuple(Token(piece[0], alternatives(piece.start(), piece[0])) for piece in _TOKENS.finditer(text))


def _sure(piece: str) -> _Alternatives:
    return ((piece, -0.001),)


def _torn(odds: Sequence[float], most: int) -> _Alternatives:
    """The alternatives of a rating, with a trace of something else, most probable first."""
    found = [(str(value), math.log(max(p, 1e-30) * (1 - _ELSE))) for value, p in enumerate(odds)] + [(" ", math.log(_ELSE))]
    return tuple(sorted(found, key=lambda pair: -pair[1])[:most])


def _thinks_aloud(text: str, stop: str) -> str:
    return f"The answer says a good deal of what is asked for.{stop if stop != '}' else ''}"


def _left_out(text: str, stop: str) -> str:
    return f"{{}}{stop if stop != '}' else ''}"


def _in_words(text: str, stop: str) -> str:
    return _VALUE.sub("good", text)


_MISTAKES: Final[Sequence[Callable[[str, str], str]]] = (_thinks_aloud, _left_out, _in_words)


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
