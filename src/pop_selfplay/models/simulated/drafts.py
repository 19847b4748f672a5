"""What each simulated role means to write. A new role gets a function here and a line in `draft_for`.

Every answer has a hidden quality, a hash of its text, from which all ratings follow: whoever judges it, by whatever criterion
and however often, the verdicts agree with each other.
"""

import hashlib
import json
import random
import re
from dataclasses import dataclass
from typing import Any, Final

from pop_selfplay.records import Message, Role

_WORDS: Final = re.findall(
    r"\w+",
    """
    amber basin candle dapple ember fallow garnet harbour inlet jasper kelp linden marrow nettle orchard pebble quarry
    raven saffron thistle umber velvet willow yarrow zephyr anchor bramble copper drift elder fern glade hollow ivory
    juniper knoll lantern meadow north ochre pine quill ridge sorrel timber upland vale winter yonder barley cinder dusk
    estuary flint grove heather island jetty kindle loam moss needle osier pollen quiver reed slate tundra
    """,
)
_TAGGED_ANSWER: Final = re.compile(r"<(answer|candidate_answer)>(.*?)</\1>", re.DOTALL)
_TAGGED_CRITERIA: Final = re.compile(r"<(rubric|criterion)>(.*?)</\1>", re.DOTALL)
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Draft:
    """Thinking aloud, then tagged blocks in order. Where `items` is set there is one block, and it holds them as JSON."""

    thoughts: str
    blocks: tuple[tuple[str, str], ...]
    items: tuple[dict[str, Any], ...] = ()

    def render(self) -> str:
        """Return the completion, well formed."""
        return "\n".join([self.thoughts, *(f"<{tag}>\n{body}\n</{tag}>" for tag, body in self.blocks)])


def json_draft(thoughts: str, tag: str, items: tuple[dict[str, Any], ...]) -> Draft:
    """Return a draft whose block `tag` holds {"criterion_1": items[0], "criterion_2": …}."""
    body = json.dumps({f"criterion_{number}": item for number, item in enumerate(items, start=1)}, indent=2)
    return Draft(thoughts, ((tag, body),), items)


def draft_for(role: Role, messages: tuple[Message, ...], rng: random.Random) -> Draft:
    """Return what `role` writes when asked `messages`."""
    match role:
        case Role.PROPOSER:
            return _proposal(messages, rng)
        case Role.SOLVER:
            return Draft(_prose(rng, 10, 60), (("answer", _final_answer(messages, rng, 30, 120)),))
        case Role.RUBRIC_WRITER:
            return _rubric(rng)
        case Role.JUDGE:
            return _evaluation(messages[-1].content, rng)


def _proposal(messages: tuple[Message, ...], rng: random.Random) -> Draft:
    problem = f"{_prose(rng, 15, 40)} What follows for the {' '.join(rng.sample(_WORDS, 3))}?"
    return Draft(_prose(rng, 5, 30), (("problem", problem), ("answer", _final_answer(messages, rng, 10, 40))))


def _rubric(rng: random.Random) -> Draft:
    items = tuple(
        {
            "name": f"{kind} of the {subject}",
            "description": _prose(rng, 8, 20),
            "weight": rng.randint(1, 5),
            "gold": _prose(rng, 4, 10),
        }
        for kind, subject in zip(
            rng.sample(("Place", "Cause", "Order", "Amount", "Use"), rng.randint(1, 5)),
            rng.sample(_WORDS, 5),
            strict=False,
        )
    )
    return json_draft(_prose(rng, 10, 40), "rubric", items)


def _evaluation(prompt: str, rng: random.Random) -> Draft:
    answer = judged_answer(prompt)
    items = tuple(
        {"name": name, "thoughts": _prose(rng, 8, 25), "rating": _rating(answer, name)} for name in criterion_names(prompt)
    )
    return json_draft(_prose(rng, 5, 20), "evaluation", items)


def _prose(rng: random.Random, fewest: int, most: int) -> str:
    words = rng.choices(_WORDS, k=rng.randint(fewest, most))
    sentences = [" ".join(words[start : start + 12]).capitalize() for start in range(0, len(words), 12)]
    return ". ".join(sentences) + "."


def _final_answer(messages: tuple[Message, ...], rng: random.Random, fewest: int, most: int) -> str:
    """Prose, with a boxed value at the end where the prompt speaks of one."""
    prose = _prose(rng, fewest, most)
    boxed = any("\\boxed" in message.content for message in messages)
    return f"{prose} \\boxed{{{rng.randint(0, 9)}}}" if boxed else prose


def _rating(answer: str, criterion: str) -> int:
    return min(2, int(3 * fares(answer, criterion)))


def fares(answer: str, criterion: str) -> float:
    """Return how an answer does on a criterion, in [0, 1): mostly its hidden quality, a little this one criterion."""
    return 0.8 * _unit(answer) + 0.2 * _unit(f"{criterion}\0{answer}")


def _unit(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def judged_answer(prompt: str) -> str:
    """The candidate's answer in a judge's prompt: the longest tagged one, else all that stands before the first JSON object."""
    answers = [match[2].strip() for match in _TAGGED_ANSWER.finditer(prompt)]
    return max(answers, key=len) if answers else prompt.partition("{")[0].strip()


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
