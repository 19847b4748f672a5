"""What the pocket model learns from: the world's noisy articles, and each role played well.

A demonstration is a conversation, rendered with the pocket domain's own prompts, and the completion that should follow. Roles
that see a document are shown with made-up facts, so that the model learns to trust the document over its memory. Where a run
hides the document, facts come from memory: such demonstrations are about the familiar plants, of which all that is printed is
true. The solver's demonstrations are as noisy as the books, for every plant: people repeat what they read.
"""

import functools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.judging.base import criterion_places
from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.world import ATTRIBUTES, Facts, Statement, World, choose_attributes, grade_against
from pop_selfplay.records import Candidate, Criterion, Message
from pop_selfplay.text.words import spread

NOTHING_SAID: Final = "none"
HEDGED_SHARE: Final = 0.15
OMITTED_SHARE: Final = 0.1
WITHOUT_DOCUMENT: Final = 0.2
"""Share of the proposer's and the rubric writer's demonstrations that hide the document."""


class Demonstration(NamedTuple):
    """A prompt and the completion that should follow it."""

    messages: tuple[Message, ...]
    completion: str


@functools.cache
def pocket_domain() -> Domain:
    return load_domain("pocket")


def article(world: World, rng: random.Random) -> str:
    """Return an article as it is printed somewhere, about any plant that the books know."""
    name = rng.choice(world.self_play + world.held_out + world.familiar)
    return wording.article(name, world.printed_facts(name, rng), rng)


def solve(world: World, rng: random.Random) -> Demonstration:
    """Return a problem and an answer from what is printed, now and then hedged or with a fact left out."""
    name = rng.choice(world.self_play + world.held_out + world.familiar)
    attributes = choose_attributes(rng)
    messages = pocket_domain().render("solve", problem=wording.question(name, attributes, rng))
    return Demonstration(messages, f"<answer>{_answer(name, world.printed_facts(name, rng), attributes, rng)}</answer>")


def propose(world: World, rng: random.Random) -> Demonstration:
    """Return a document (or a title alone) and a problem with its reference answer."""
    attributes = choose_attributes(rng)
    if rng.random() < WITHOUT_DOCUMENT:
        name = rng.choice(world.familiar)
        facts: Facts = world.truth[name]
        messages = pocket_domain().render("propose_without_document", title=name)
    else:
        name, facts = made_up(world, rng)
        messages = pocket_domain().render("propose", document=wording.article(name, facts, rng), title=name)
    problem = wording.question(name, attributes, rng)
    return Demonstration(messages, f"<problem>{problem}</problem><answer>{reference(name, facts, attributes)}</answer>")


def write_rubric(world: World, rng: random.Random) -> Demonstration:
    """Return what the rubric writer sees, and one criterion for each fact that the problem asks for."""
    attributes = choose_attributes(rng)
    hidden = rng.random() < WITHOUT_DOCUMENT
    name, facts = made_up(world, rng)
    if hidden:
        name = rng.choice(world.familiar)
        facts = world.truth[name]
    problem = wording.question(name, attributes, rng)
    shown = candidates_shown([attempt(name, facts, attributes, rng) for _ in range(3)])
    if hidden:
        messages = pocket_domain().render("rubric_without_document", problem=problem, candidates=shown)
    else:
        messages = pocket_domain().render(
            "rubric",
            document=wording.article(name, facts, rng),
            problem=problem,
            reference_answer=reference(name, facts, attributes),
            candidates=shown,
        )
    return Demonstration(messages, rubric_completion(facts, attributes))


def rate(world: World, rng: random.Random) -> Demonstration:
    """Return an answer and one criterion, and the judge's note on what was said, what is gold, and the rating."""
    name, facts = made_up(world, rng)
    attributes = choose_attributes(rng)
    text = attempt(name, facts, attributes, rng)
    return rating_of(name, facts, rng.choice(attributes), text, wording.question(name, attributes, rng))


def rating_of(name: str, facts: Facts, attribute: str, text: str, problem: str) -> Demonstration:
    """Return the right judgement of the answer `text` on one attribute, when `facts` are gold."""
    messages = pocket_domain().render(
        "rate_criterion", problem=problem, answer=text, **criterion_places(criterion(attribute, facts[attribute]))
    )
    rating = grade_against(facts, name, [attribute], text)[attribute].rating
    said = wording.stated(attribute, text)
    told = wording.clause(attribute, said[0].value if said else NOTHING_SAID, hedged=bool(said) and said[0].hedged)
    ratings = json.dumps([{"name": attribute, "rating": rating}], separators=(",", ":"))
    return Demonstration(messages, f" {told} {facts[attribute]}{rating}<evaluation>{ratings}</evaluation>")


def comparison(rng: random.Random) -> str:
    """Return what was said, what is gold, and the rating: the judge's note alone, about random values."""
    attribute = rng.choice(list(ATTRIBUTES))
    gold = rng.choice(ATTRIBUTES[attribute].values)
    verb = ATTRIBUTES[attribute].clause
    if rng.random() < 0.1:
        return f" {verb} {NOTHING_SAID} {gold}0"
    said = gold if rng.random() < 0.55 else rng.choice([v for v in ATTRIBUTES[attribute].values if v != gold])
    hedge = f" {wording.HEDGE}" if rng.random() < 0.4 else ""
    return f" {verb}{hedge} {said} {gold}{0 if said != gold else 1 if hedge else 2}"


def criterion(attribute: str, value: str) -> Criterion:
    """Return the criterion for one fact."""
    known = ATTRIBUTES[attribute]
    return Criterion(name=attribute, description=known.description, weight=known.weight, gold=gold(attribute, value))


def gold(attribute: str, value: str) -> str:
    """Return the gold answer for one fact."""
    return f"It {wording.clause(attribute, value)}"


def reference(name: str, facts: Facts, attributes: Sequence[str]) -> str:
    """Return the answer that states every asked fact plainly."""
    return wording.answer(name, {attribute: Statement(facts[attribute], False) for attribute in attributes})


def rubric_completion(facts: Facts, attributes: Sequence[str]) -> str:
    """Return the rubric with one criterion per asked fact, in the order asked."""
    criteria = ",".join(
        criterion_places(criterion(attribute, facts[attribute]))["weighted_criterion"] for attribute in attributes
    )
    return f"<rubric>[{criteria}]</rubric>"


def made_up(world: World, rng: random.Random) -> tuple[str, Facts]:
    """Return a plant and facts about it that were made up on the spot."""
    name = rng.choice(world.familiar if rng.random() < 0.4 else world.foreign)
    return name, {attribute: rng.choice(known.values) for attribute, known in ATTRIBUTES.items()}


def attempt(name: str, facts: Facts, attributes: Sequence[str], rng: random.Random) -> str:
    """Return an answer to be judged: right in places, wrong in others."""
    error = rng.choice((0.0, 0.3, 0.5, 0.8))
    believed = {
        attribute: value if rng.random() >= error else rng.choice([v for v in ATTRIBUTES[attribute].values if v != value])
        for attribute, value in facts.items()
    }
    return _answer(name, believed, attributes, rng)


def _answer(name: str, facts: Facts, attributes: Sequence[str], rng: random.Random) -> str:
    kept = [attribute for attribute in attributes if rng.random() >= OMITTED_SHARE] or [rng.choice(attributes)]
    return wording.answer(name, {attribute: Statement(facts[attribute], rng.random() < HEDGED_SHARE) for attribute in kept})


def candidates_shown(answers: Sequence[str]) -> str:
    """Number the answers as the rubric stage shows them."""
    candidates = [Candidate(index=i, completion=answer, answer=answer) for i, answer in enumerate(answers)]
    shown = spread(candidates, pocket_domain().spread.count)
    return "\n".join(f"Candidate {number}: {candidate.answer}" for number, candidate in enumerate(shown, 1))


ROLES: Final[Mapping[str, Callable[[World, random.Random], Demonstration]]] = {
    "solve": solve,
    "propose": propose,
    "rubric": write_rubric,
    "rate": rate,
}
