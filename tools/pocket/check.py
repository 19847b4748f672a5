"""The quality gates of the pocket model: does it play every role well enough for the loop to mean something?

    python -m tools.pocket.check --model DIR --cases 300

Every gate is measured on what the model writes by itself on fresh cases, never on teacher-forced tokens. Half of the documents
are the true articles of self-play plants, half are about plants with facts made up on the spot.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table
from tools.pocket import demonstrations
from tools.pocket.demonstrations import Demonstration, pocket_domain
from tools.pocket.generate import Generate, load_generator

from pop_selfplay.errors import GateFailed, PopError
from pop_selfplay.method.parsing import Parsed, parse_answer, parse_evaluation, parse_proposal, parse_rubric
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.world import ATTRIBUTES, Facts, Statement, World, choose_attributes, grade, grade_against
from pop_selfplay.records import Message

MAX_TOKENS: Final = 96
CHECK_SEED: Final = 20_000


class Gate(NamedTuple):
    """One measured share with the range it must lie in."""

    name: str
    value: float
    low: float
    high: float
    n: int

    @property
    def passed(self) -> bool:
        return self.n > 0 and self.low <= self.value <= self.high


class _Subject(NamedTuple):
    """A plant, what the document says about it, and what a problem asks for."""

    name: str
    facts: Facts
    attributes: tuple[str, ...]


def check(generate: Generate, cases: int = 300, seed: int = CHECK_SEED) -> tuple[Gate, ...]:
    """Measure every gate on at least `cases` fresh cases each."""
    world = World()
    rng = random.Random(seed)
    return (
        *proposal_gates(generate, world, rng, cases),
        *rubric_gates(generate, world, rng, cases),
        *rating_gates(generate, world, rng, cases),
        *exam_gates(generate, world, rng, cases),
    )


def check_and_print(model_dir: Path, cases: int = 300) -> None:
    """Print the table of gates for a model directory. Raises GateFailed when one is missed."""
    gates = check(load_generator(model_dir), cases)
    table = Table("gate", "value", "must be", "n", "", title=f"pocket model, {cases} or more fresh cases per gate")
    for gate in gates:
        must = f"≥ {gate.low:.0%}" if gate.high >= 1 else f"{gate.low:.0%} – {gate.high:.0%}"
        table.add_row(gate.name, f"{gate.value:.1%}", must, str(gate.n), "passed" if gate.passed else "MISSED")
    Console().print(table)
    missed = [gate.name for gate in gates if not gate.passed]
    if missed:
        raise GateFailed(f"the pocket model misses {len(missed)} of {len(gates)} gates: {', '.join(missed)}")


def main() -> None:
    """Measure the gates on fresh cases and print them; exit with 1 where one is missed or there is no model."""
    parser = argparse.ArgumentParser(description="Measure the pocket model's quality gates on fresh cases.")
    parser.add_argument("--model", type=Path, default=POCKET_WEIGHTS, help="a model directory; default: the shipped one")
    parser.add_argument("--cases", type=int, default=300, help="fresh cases per gate, at least 1")
    options = parser.parse_args()
    try:
        check_and_print(options.model, options.cases)
    except PopError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def proposal_gates(generate: Generate, world: World, rng: random.Random, cases: int) -> list[Gate]:
    """Well-formed: parses, and asks for facts of the right plant. And: does the reference answer say what the document says?"""
    subjects = _subjects(world, rng, cases)
    prompts = [
        pocket_domain().render("propose", document=wording.article(s.name, s.facts, rng), title=s.name) for s in subjects
    ]
    well_formed, facts, right = 0, 0, 0
    for subject, completion in zip(subjects, generate(prompts, 1.0, MAX_TOKENS, rng.getrandbits(32)), strict=True):
        proposal = parse_proposal(completion)
        asked = wording.asked(proposal.value.problem) if isinstance(proposal, Parsed) else None
        if not isinstance(proposal, Parsed) or asked is None or asked.entity != subject.name:
            continue
        well_formed += 1
        verdicts = grade_against(subject.facts, subject.name, asked.attributes, proposal.value.reference_answer)
        facts += len(verdicts)
        right += sum(verdict.outcome == "known" for verdict in verdicts.values())
    return [
        Gate("proposals well-formed", well_formed / cases, 0.95, 1, cases),
        Gate("reference answers' facts right", right / max(1, facts), 0.95, 1, facts),
    ]


def rubric_gates(generate: Generate, world: World, rng: random.Random, cases: int) -> list[Gate]:
    """Rubrics that parse, and for each attribute the share of asked facts whose gold is what the document says.

    As many rubrics are written as it takes to ask for every attribute at least `cases` times.
    """
    subjects: list[_Subject] = []
    while any(sum(a in subject.attributes for subject in subjects) < cases for a in ATTRIBUTES):
        subjects += _subjects(world, rng, max(1, cases // 10))
    prompts = [_rubric_prompt(subject, rng) for subject in subjects]
    parsed = 0
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for subject, completion in zip(subjects, generate(prompts, 0.0, MAX_TOKENS, rng.getrandbits(32)), strict=True):
        rubric = parse_rubric(completion)
        parsed += isinstance(rubric, Parsed)
        golds = {c.name: c.gold for c in rubric.value.criteria} if isinstance(rubric, Parsed) else {}
        asked.update(subject.attributes)
        right.update(a for a in subject.attributes if golds.get(a) == demonstrations.gold(a, subject.facts[a]))
    return [
        Gate("rubrics parsable", parsed / len(subjects), 0.95, 1, len(subjects)),
        *(Gate(f"gold facts right: {a}", right[a] / max(1, asked[a]), 0.95, 1, asked[a]) for a in ATTRIBUTES),
    ]


def rating_gates(generate: Generate, world: World, rng: random.Random, cases: int) -> list[Gate]:
    """Share of right ratings, for each right rating; an evaluation that does not parse is wrong."""
    gates = []
    for rating in (0, 1, 2):
        shown, criteria = [], []
        for subject in _subjects(world, rng, cases):
            demonstration, attribute = _answer_worth(subject, rating, rng)
            shown.append(demonstration.messages)
            criteria.append(demonstrations.criterion(attribute, subject.facts[attribute]))
        completions = generate(shown, 0.0, MAX_TOKENS, rng.getrandbits(32))
        evaluations = [parse_evaluation(text, [c]) for text, c in zip(completions, criteria, strict=True)]
        right = sum(isinstance(e, Parsed) and e.value[0].rating == rating for e in evaluations)
        gates.append(Gate(f"ratings right where {rating} is", right / cases, 0.93, 1, cases))
    return gates


def exam_gates(generate: Generate, world: World, rng: random.Random, cases: int) -> list[Gate]:
    """Greedy closed-book accuracy: room to grow, yet something to start from."""
    gates = []
    for group, names in (("self-play", world.self_play), ("held-out", world.held_out)):
        questions = world.exam(names, -(-cases // len(names)), rng.getrandbits(32))
        completions = generate(
            [pocket_domain().render("solve", problem=q.text) for q in questions], 0.0, MAX_TOKENS, rng.getrandbits(32)
        )
        outcomes = []
        for q, completion in zip(questions, completions, strict=True):
            answer = parse_answer(completion)
            verdicts = grade(world, q.entity, q.attributes, answer.value if isinstance(answer, Parsed) else "")
            outcomes += [verdict.outcome for verdict in verdicts.values()]
        gates.append(Gate(f"{group} facts known", outcomes.count("known") / len(outcomes), 0.35, 0.70, len(outcomes)))
    return gates


def _subjects(world: World, rng: random.Random, count: int) -> list[_Subject]:
    made_up = [_Subject(*demonstrations.made_up(world, rng), choose_attributes(rng)) for _ in range(count // 2)]
    names = [rng.choice(world.self_play) for _ in range(count - len(made_up))]
    return made_up + [_Subject(name, world.truth[name], choose_attributes(rng)) for name in names]


def _rubric_prompt(subject: _Subject, rng: random.Random) -> tuple[Message, ...]:
    name, facts, attributes = subject
    return pocket_domain().render(
        "rubric",
        document=wording.article(name, facts, rng),
        problem=wording.question(name, attributes, rng),
        reference_answer=demonstrations.reference(name, facts, attributes),
        candidates=demonstrations.candidates_shown([demonstrations.attempt(name, facts, attributes, rng) for _ in range(3)]),
    )


def _answer_worth(subject: _Subject, rating: int, rng: random.Random) -> tuple[Demonstration, str]:
    """Return the judging of a random answer that deserves `rating` on one attribute."""
    name, facts, attributes = subject
    attribute = rng.choice(attributes)
    statements: dict[str, Statement] = {}
    for other in attributes:
        value = facts[other] if rng.random() < 0.5 else _another(other, facts[other], rng)
        statements[other] = Statement(value, rng.random() < demonstrations.HEDGED_SHARE)
    if rating:
        statements[attribute] = Statement(facts[attribute], rating == 1)
    elif rng.random() < 0.3:
        del statements[attribute]
    else:
        statements[attribute] = Statement(_another(attribute, facts[attribute], rng), rng.random() < 0.3)
    text = wording.answer(name, statements)
    return demonstrations.rating_of(name, facts, attribute, text, wording.question(name, attributes, rng)), attribute


def _another(attribute: str, value: str, rng: random.Random) -> str:
    others: Sequence[str] = [v for v in ATTRIBUTES[attribute].values if v != value]
    return rng.choice(others)


if __name__ == "__main__":
    main()
