"""Grammars of forms: whatever a grammar allows, the parser reads."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer, grammar_from

from pop_selfplay.method.parsing import (
    BETTER,
    MARKS,
    RUBRIC,
    Form,
    Parsed,
    Rejection,
    answer_form,
    evaluation_form,
    grammar,
    parse_answer,
    parse_better,
    parse_evaluation,
    parse_marks,
    parse_proposal,
    parse_rubric,
    proposal_form,
    ratings_form,
)
from pop_selfplay.method.problems import boxed_reference
from pop_selfplay.records import Criterion

CRITERIA = (
    Criterion(name='The "dose", in mg', description="d", weight=2, gold="g"),
    Criterion(name="Häufigkeit <täglich>", description="d", weight=1, gold="g"),
)
BYTES = LLTokenizer("byte")
FORMS: dict[str, tuple[Form, Callable[[str], object]]] = {
    "proposal": (proposal_form(boxed=False), parse_proposal),
    "boxed proposal": (proposal_form(boxed=True), parse_proposal),
    "answer": (answer_form(boxed=False), parse_answer),
    "boxed answer": (answer_form(boxed=True), parse_answer),
    "rubric": (RUBRIC, parse_rubric),
    "evaluation": (evaluation_form(CRITERIA), lambda text: parse_evaluation(text, CRITERIA)),
    "better": (BETTER, parse_better),
    "marks": (MARKS, parse_marks),
}
GOOD = {
    "proposal": "<problem>\nIs a < b, and what of <div>?\n</problem>\n<answer>\n**No**: a << b.\n</answer>",
    "boxed proposal": "<problem>\nHalf?\n</problem>\n<answer>\nSo $\\frac{1}{2}$, \\\\ \\boxed{\\frac{1}{2}}.\n</answer>",
    "answer": "First, I think </b>.\n<answer>\n- Rest\n- Water</answer>",
    "boxed answer": "<answer>\\boxed{\\sqrt{\\frac{1}{2}}}</answer>",
    "rubric": '<rubric>\n[{"name": "Dose", "gold": "\\"5 mg\\"", "description": "says < 6", "weight": 4}]\n</rubric>',
    "evaluation": '<evaluation>\n[{"name": "The \\"dose\\", in mg", "thoughts": "It says so.", "rating": 2}, '
    '{"name": "Häufigkeit <täglich>", "thoughts": "Nothing.", "rating": 0}]\n</evaluation>',
    "better": "A is nearer to it.\n<better_answer>B</better_answer>",
    "marks": "<rating_A>10</rating_A>\n<rating_B>0</rating_B>",
}
NASTY = [
    *r"""a B ß … ... " \ \n < </ { } , : - * 0 3 10 \boxed{ \boxe <think> </think> <ans <ANSWER> </answer> <problem> <rubric
    <rating_a> null <rating_B> </rating_B> <better_answer>""".split(),
    *(" ", "\n", "\n\n", ", ", ": ", "< answer >", "\u200b", "\u00a0", "Not applicable", '[{"name": "'),
    *(
        '", "gold": "',
        '", "thoughts": "',
        '", "rating": ',
        '", "description": "',
        '", "weight": ',
        '}, {"name": "',
    ),
]
"""What breaks forms."""
ENDS = [
    *"</answer> </problem> <answer> <rubric> </rubric> x <rating_A> <better_answer> A 5 } \\boxed{".split() * 3,
    *".<answer> .<rating_A> .<better_answer>".split() * 3,
]
"""What ends them, often enough that a text comes to an end."""


def matcher(form: Form) -> Any:
    found = LLMatcher(BYTES, grammar_from("gbnf", grammar(form)))
    assert not found.is_error(), found.get_error()
    return found


def accepts(form: Form, text: str) -> bool:
    reader, written = matcher(form), list(text.encode())
    return bool(reader.try_consume_tokens(written) == len(written) and reader.is_accepting())


def wander(form: Form, rng: random.Random) -> str:
    """Return a text that the grammar allows, put together from nasty pieces, and from what it asks for where none fits."""
    reader, text = matcher(form), b""
    while not reader.is_stopped() and len(text) < 3000:
        forced = reader.compute_ff_bytes()
        pieces = [forced] if forced else [piece.encode() for piece in rng.sample([*NASTY, *ENDS], 30)]
        for piece in pieces:
            if reader.validate_tokens(list(piece)) == len(piece):
                reader.consume_tokens(list(piece))
                text += piece
                break
    assert reader.is_stopped(), text
    return text.decode()


@pytest.mark.parametrize("name", FORMS)
def test_what_a_role_should_write_is_allowed_and_read_without_repair(name: str) -> None:
    form, parse = FORMS[name]
    assert accepts(form, GOOD[name])
    read = parse(GOOD[name])
    assert isinstance(read, Parsed) and not read.repaired


@pytest.mark.parametrize("name", FORMS)
def test_whatever_a_grammar_allows_is_read(name: str) -> None:
    form, parse = FORMS[name]
    rng = random.Random(name)
    for _ in range(12):
        text = wander(form, rng)
        read = parse(text)
        # Names that are alike and a gold that is no word are content: a grammar cannot tell.
        assert isinstance(read, Parsed) or _content(read), (text, read)
        if name == "boxed proposal" and isinstance(read, Parsed):
            assert read.value.reference_answer.count("\\boxed{") <= 1


def _content(read: object) -> bool:
    return isinstance(read, Rejection) and (read.reason == "duplicate_name" or "gold" in read.detail)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("answer", "Just the answer, without a tag."),
        ("answer", "<answer></answer>"),
        ("answer", "<answer>...</answer>"),
        ("answer", "In <answer>: first.\n<answer>Moss.</answer>"),
        ("answer", "<think>Moss.</think><answer>Moss.</answer>"),
        ("proposal", "<problem>What?<answer>Moss.</answer>"),
        ("boxed proposal", "<problem>What?</problem>\n<answer>\\boxed{1} or \\boxed{2}</answer>"),
        ("evaluation", GOOD["evaluation"].replace('"rating": 2', '"rating": 4')),
        ("evaluation", GOOD["evaluation"].replace("The", "A")),
        ("better", "<better_answer>neither</better_answer>"),
        ("marks", GOOD["marks"].replace("10", "11")),
    ],
)
def test_what_leaves_the_form_is_not_allowed(name: str, text: str) -> None:
    assert not accepts(FORMS[name][0], text)


@pytest.mark.parametrize("answer", ["1869", "\n1869\n", "In 1869, by a French company."])
def test_an_answer_may_end_without_its_box_which_is_read_where_it_leaves_no_doubt(answer: str) -> None:
    """A model that has said what it had to say, and may not end, writes on until its tokens are used up."""
    text = f"<problem>\nWhen?\n</problem>\n<answer>{answer}</answer>"
    assert accepts(FORMS["boxed proposal"][0], text) and accepts(FORMS["boxed answer"][0], text[text.index("<answer>") :])
    assert isinstance(boxed_reference(answer), Parsed) == (answer.strip() == "1869")


@pytest.mark.parametrize(("name", "room"), [("answer", 1024), ("better", 100), ("marks", 100)])
def test_thoughts_leave_room_for_what_follows_them_and_come_to_an_end(name: str, room: int) -> None:
    form = FORMS[name][0].within(room)
    verdict = GOOD[name].rpartition("\n<answer>")[2] if name == "answer" else GOOD[name][GOOD[name].index("<") :]
    verdict = f"<answer>{verdict}" if name == "answer" else verdict
    assert accepts(form, verdict) and accepts(form, "x" * (room - 1) + ".\n" + verdict)
    assert not accepts(form, "x" * (room - 1) + verdict), "in the middle of a sentence"
    assert not accepts(form, "x" * (room + 40) + "." + verdict)


@pytest.mark.parametrize("name", ["answer", "boxed answer", "proposal", "rubric"])
def test_a_short_text_and_whatever_needs_no_thoughts_begins_with_its_tag(name: str) -> None:
    form = FORMS[name][0].within(1023)
    assert form.thoughts == 0 and accepts(form, GOOD[name][GOOD[name].index(f"<{form.blocks[0].tag}>") :])
    assert not accepts(form, "So.\n" + GOOD[name][GOOD[name].index(f"<{form.blocks[0].tag}>") :])


def test_bare_ratings_rate_each_criterion_once() -> None:
    assert accepts(ratings_form(3), '{"1": 0, "2": 2, "3": 1}')
    assert not accepts(ratings_form(3), '{"1": 0, "2": 2}')
    assert not accepts(ratings_form(2), '{"1": 0, "2": 3}')


@pytest.mark.parametrize("name", FORMS)
def test_rule_names_are_what_every_engine_reads(name: str) -> None:
    names = [line.partition(" ::= ")[0] for line in grammar(FORMS[name][0]).rstrip("\n").split("\n")]
    assert names[0] == "root" and all(rule.isalnum() for rule in names) and len(set(names)) == len(names)
