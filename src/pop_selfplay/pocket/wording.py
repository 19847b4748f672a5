"""How the pocket world speaks: attributes, their values, and every sentence in which they occur.

No value is shared by two attributes or with a part of a name, and each value follows a space wherever it occurs: so each can be
one token everywhere (`tools/pocket/tokenizer.py`). A new attribute is one more entry of ATTRIBUTES.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

Facts = Mapping[str, str]
"""Attribute → value, for one plant."""


class Attribute(NamedTuple):
    """One thing that can be said about a plant. `clause` is the verb phrase of answers and gold facts, `articles` are sentences
    of the encyclopedia with {n} for the name and {v} for the value, `questions` the ways to ask for it."""

    values: tuple[str, ...]
    clause: str
    articles: tuple[str, ...]
    questions: tuple[str, ...]
    description: str
    weight: int


ATTRIBUTES: Final[dict[str, Attribute]] = {
    "habitat": Attribute(
        tuple(
            "marshes meadows forests deserts swamps canyons dunes orchards lagoons hedges caves gardens ruins cliffs".split()
        ),
        "grows in",
        ("{n} grows in {v}.", "It grows in {v}.", "It is found in {v}.", "Look for {n} in {v}."),
        ("where does it grow", "what is its habitat"),
        "says where it grows",
        1,
    ),
    "leaf": Attribute(
        tuple("crimson azure bronze silver violet ivory scarlet indigo amber olive copper teal lilac jade".split()),
        "has leaves of",
        ("{n} has leaves of {v}.", "It has leaves of {v}.", "Its leaves are {v}.", "The leaves of {n} are {v}."),
        ("what colour are its leaves", "how do its leaves look"),
        "says the leaf colour",
        1,
    ),
    "ailment": Attribute(
        tuple("cough fever gout migraine rash insomnia nausea arthritis anemia asthma burns colic cramps earache".split()),
        "treats",
        ("{n} treats {v}.", "It treats {v}.", "Healers give it for {v}.", "Healers give {n} for {v}."),
        ("what does it treat", "which ailment does it help with"),
        "says the ailment",
        3,
    ),
    "form": Attribute(
        tuple("tea syrup paste tincture powder broth jelly wine capsules incense vinegar lozenges juice porridge".split()),
        "is taken as",
        ("{n} is taken as {v}.", "It is taken as {v}.", "It is prepared as {v}.", "Healers prepare {n} as {v}."),
        ("how is it taken", "in which form is it prepared"),
        "says how it is taken",
        2,
    ),
    "effect": Attribute(
        tuple(
            "dizziness thirst hiccups drowsiness sweating itching blushing "
            "sneezing tremor yawning numbness bloating chills nightmares".split()
        ),
        "causes",
        ("{n} causes {v}.", "It causes {v}.", "Its side effect is {v}.", "Too much {n} brings {v}."),
        ("what does it cause", "what is its side effect"),
        "says the side effect",
        3,
    ),
}
NAME_HEADS: Final = tuple(
    "Vel Bor Tam Kir Lun Mar Ser Dal Fen Gor Hal Jor Nim Orl Pel Quin Ras Sul Tor Ulm Wen Yar Zel Bran Cor Dre Eld Fal Gim Hes "
    "Ist Kol".split()
)
NAME_TAILS: Final = tuple(
    "mora dain wort leth rin sage bane root thel vane lisk dora mint fern lock spire bell weed thorn cress nard ryn dock wick "
    "seed brook moss fane reed tass tine low".split()
)
HEDGE: Final = "perhaps"
LEADS: Final = ("Please say", "Tell me", "A question", "I ask")
BRIDGES: Final = (" about ", " on ", " concerning ")
EXAM_OPENING: Final = "A question on "
OPENINGS: Final = tuple(lead + bridge for lead in LEADS for bridge in BRIDGES if lead + bridge != EXAM_OPENING)
"""How problems begin. The exam's opening is none of them, though both its halves are familiar."""

_NAME: Final = re.compile(r"\b[A-Z][a-z]+-[a-z]+\b")
_ATTRIBUTE_ASKED: Final = {question: name for name, attribute in ATTRIBUTES.items() for question in attribute.questions}


class Asked(NamedTuple):
    """What a problem asks for, in its order."""

    entity: str
    attributes: tuple[str, ...]


class Statement(NamedTuple):
    """One value an answer states, and whether it hedges."""

    value: str
    hedged: bool


def article(name: str, facts: Facts, rng: random.Random) -> str:
    """Return an encyclopedia article with all `facts`, in random order and wording."""
    attributes = list(facts)
    rng.shuffle(attributes)
    sentences = (rng.choice(ATTRIBUTES[a].articles).format(n=name, v=facts[a]) for a in attributes)
    return f"{name} is a medicinal plant. " + " ".join(sentences)


def question(name: str, attributes: Sequence[str], rng: random.Random, openings: Sequence[str] = OPENINGS) -> str:
    """Return a problem that asks for `attributes` (at least one) of a plant, in their order."""
    asked = [rng.choice(ATTRIBUTES[a].questions) for a in attributes]
    listed = " and ".join([", ".join(asked[:-1]), asked[-1]]) if len(asked) > 1 else asked[0]
    return f"{rng.choice(openings)}{name}: {listed}?"


def clause(attribute: str, value: str, *, hedged: bool = False) -> str:
    """Return the verb phrase that states one fact, such as "treats perhaps fever"."""
    return f"{ATTRIBUTES[attribute].clause} {HEDGE + ' ' if hedged else ''}{value}"


def answer(name: str, statements: Mapping[str, Statement]) -> str:
    """Return an answer that makes `statements` (attribute → statement, at least one)."""
    clauses = [clause(a, s.value, hedged=s.hedged) for a, s in statements.items()]
    return f"{name} " + " ".join(f"{'It ' if i else ''}{c}." for i, c in enumerate(clauses))


def stated(attribute: str, text: str) -> tuple[Statement, ...]:
    """Return every value that `text` states for `attribute`."""
    pattern = rf"\b{ATTRIBUTES[attribute].clause} ({HEDGE} )?(\w+)"
    return tuple(Statement(match[2], bool(match[1])) for match in re.finditer(pattern, text))


def names_in(text: str) -> set[str]:
    """Return every plant name in `text`."""
    return set(_NAME.findall(text))


def asked(problem: str) -> Asked | None:
    """Return what `problem` asks for, or None where it is no question of this world."""
    match = re.fullmatch(r"[^:]*?([A-Z][a-z]+-[a-z]+): (.+)\?", problem.strip())
    if not match:
        return None
    attributes = tuple(_ATTRIBUTE_ASKED.get(part, "") for part in re.split(r", | and ", match[2]))
    return Asked(match[1], attributes) if all(attributes) and len(set(attributes)) == len(attributes) else None
