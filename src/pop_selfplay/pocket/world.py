"""The pocket world: fictional medicinal plants with an exact truth, what people wrongly believe about them, and how it speaks.

A language model that was fed on this world's books knows it imperfectly, because the books disagree: each fact of a plant is
printed right only in some of the copies, else one of two wrong values stands in its place. The articles that self-play reads
are the true ones. The exam asks for facts by heart, and `grade` knows the truth.

Four groups of plants: `self_play` (their articles are the documents of the loop), `held_out` (known just as imperfectly, never
a document), `familiar` and `foreign` (only seen in demonstrations of the roles; everything printed about the familiar is true).

First the wording: attributes, their values, and every sentence in which they occur. This is the only world whose truth is
known: another one gets a case in `knows_truth` and in `truth_score`.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final, Literal, NamedTuple

from pop_selfplay.config import CorpusConfig, PocketCorpus
from pop_selfplay.pocket import world as wording
from pop_selfplay.records import Problem

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


__all__ = ["Asked", "ExamQuestion", "Grade", "Outcome", "World", "asked", "grade", "knows_truth", "truth_score"]

SELF_PLAY, HELD_OUT, FAMILIAR, FOREIGN = 100, 60, 80, 300
SHARE_TRUE: Final = (0.2, 0.5)
"""Between these lies the share of copies in which a fact of self_play or held_out is true; the rest is two errors'."""

Outcome = Literal["known", "hedged", "wrong", "omitted"]


class ExamQuestion(NamedTuple):
    """A closed-book question: `text` asks for `attributes` of `entity`."""

    entity: str
    attributes: tuple[str, ...]
    text: str


class Grade(NamedTuple):
    """What an answer is worth on one fact: 2 stated right (known), 1 right but hedged, 0 wrong or omitted."""

    rating: int
    outcome: Outcome


class _Fame(NamedTuple):
    """The values printed for one fact, the true one first, and how often each is."""

    values: tuple[str, ...]
    shares: tuple[float, ...]


class World:
    """All plants and facts of one seed. The shipped model knows the world of seed 0."""

    def __init__(self, seed: int = 0) -> None:
        rng = random.Random(seed)
        names = [f"{head}-{tail}" for head in NAME_HEADS for tail in NAME_TAILS]
        rng.shuffle(names)
        groups = _cut(names, (SELF_PLAY, HELD_OUT, FAMILIAR, FOREIGN))
        self.self_play, self.held_out, self.familiar, self.foreign = groups
        self._fame: dict[str, dict[str, _Fame]] = {
            name: {attribute: _fame(attribute, rng, disputed=name not in self.familiar) for attribute in ATTRIBUTES}
            for name in self.self_play + self.held_out + self.familiar
        }
        self.truth: Mapping[str, Mapping[str, str]] = {
            name: {attribute: fame.values[0] for attribute, fame in fames.items()} for name, fames in self._fame.items()
        }

    def document(self, name: str, rng: random.Random) -> str:
        """Return the true article about `name`; `rng` chooses order and wording."""
        return wording.article(name, self.truth[name], rng)

    def printed_facts(self, name: str, rng: random.Random) -> dict[str, str]:
        """Return what one random copy of the books says about `name`: a mixture of truth and common errors."""
        return {attribute: rng.choices(fame.values, fame.shares)[0] for attribute, fame in self._fame[name].items()}

    def exam(self, names: Sequence[str], per_entity: int, seed: int) -> tuple[ExamQuestion, ...]:
        """Return `per_entity` questions about each plant, in an opening that no demonstration has."""
        rng = random.Random(seed)

        def questions() -> Iterator[ExamQuestion]:
            for name in names:
                for _ in range(per_entity):
                    attributes = choose_attributes(rng)
                    yield ExamQuestion(name, attributes, wording.question(name, attributes, rng, (EXAM_OPENING,)))

        return tuple(questions())


def choose_attributes(rng: random.Random) -> tuple[str, ...]:
    """Return the two or three attributes that a problem asks for."""
    return tuple(rng.sample(list(ATTRIBUTES), rng.choice((2, 3))))


def grade(world: World, entity: str, attributes: Sequence[str], answer_text: str) -> dict[str, Grade]:
    """Return the verdict on each of `attributes`, against the truth about `entity`."""
    return grade_against(world.truth[entity], entity, attributes, answer_text)


def grade_against(facts: Mapping[str, str], entity: str, attributes: Sequence[str], answer_text: str) -> dict[str, Grade]:
    """Like `grade`, with `facts` for the truth. Contradictions and facts about another plant are wrong."""
    about_it = wording.names_in(answer_text) <= {entity}
    return {attribute: _verdict(facts[attribute], wording.stated(attribute, answer_text), about_it) for attribute in attributes}


def _verdict(truth: str, statements: Sequence[wording.Statement], about_it: bool) -> Grade:
    if not statements:
        return Grade(0, "omitted")
    if not about_it or {statement.value for statement in statements} != {truth}:
        return Grade(0, "wrong")
    return Grade(1, "hedged") if any(statement.hedged for statement in statements) else Grade(2, "known")


def _fame(attribute: str, rng: random.Random, *, disputed: bool) -> _Fame:
    values = tuple(rng.sample(ATTRIBUTES[attribute].values, 3))
    share = rng.uniform(*SHARE_TRUE)
    return _Fame(values, (share, (1 - share) / 2, (1 - share) / 2)) if disputed else _Fame(values[:1], (1.0,))


def _cut(names: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [tuple(names[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


@cache
def _world() -> World:
    return World()


def knows_truth(corpus: CorpusConfig) -> bool:
    """Whether answers to problems from this corpus can be graded against the truth."""
    return isinstance(corpus, PocketCorpus)


def truth_score(problem: Problem, answer: str) -> float | None:
    """Return what `answer` is worth, in [0, 2]: per asked fact 2 stated right, 1 hedged, 0 wrong or left out, by its weight.

    None where `problem` is no question of the pocket world, or about a plant whose truth nobody knows.
    """
    question = asked(problem.text)
    if question is None or question.entity not in _world().truth:
        return None
    verdicts = grade(_world(), question.entity, question.attributes, answer)
    weights = {attribute: ATTRIBUTES[attribute].weight for attribute in question.attributes}
    return sum(weights[attribute] * verdicts[attribute].rating for attribute in weights) / sum(weights.values())
