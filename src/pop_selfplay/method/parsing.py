"""Completions in, typed values or a reason out. Strict: half an answer is a rejection, never a value.

No function here raises on any input text. Reasons are short stable words that are counted and shown to the user:

| reason | meaning |
| --- | --- |
| no_tag, unclosed_tag, repeated_tag, empty_tag | the tag asked for is missing, open, there twice, or holds nothing to be seen |
| placeholder, nested_tag | the tag holds only dots or dashes; the problem holds the tag of the answer |
| unclosed_reasoning, only_reasoning | the completion never left its `<think>` part; nothing follows it |
| too_long | a JSON body beyond 64 kB |
| bad_json, wrong_shape | not JSON even after repair; JSON of another shape than asked for, or a second object after the first |
| missing_key, wrong_type | a criterion or rating lacks a key, or has a value of the wrong type |
| no_criteria, too_many_criteria, duplicate_name, bad_weight | the rubric breaks a rule of the method |
| missing_rating, unknown_criterion, duplicate_rating, bad_rating | the evaluation does not rate each criterion once, 0 to 2 |
| bad_verdict, bad_rating | a comparison names neither A nor B, or rates an answer with no number from 0 to 10 |

What leaves no doubt is accepted, and told as repaired. Tags and reasoning are read in `tags.py`, rubrics and evaluations in
`rubric_json.py`, broken JSON in `json_output.py`, the rest here. Difference from the paper: its reference code clips ratings
into [0, 2], counts a left-out criterion as 0 and lets duplicate names overwrite each other; here each rejects the completion.

`grammar` returns a form as a GBNF grammar, which allows what the form's parser reads and nothing else: each tag once, each
rating in 0, 1, 2 under its criterion's name, no empty block, no "..." and no `<think>`: a model that shall think is not
constrained. What only the content can break stays with the parsers.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from pop_selfplay.method.notation import ends_with_box
from pop_selfplay.method.rubric_json import (
    JsonSchema,
    parse_evaluation,
    parse_rubric,
    ratings_schema,
    tagged_evaluation_schema,
    tagged_rubric_schema,
)
from pop_selfplay.method.tags import Parsed, Rejection, cut_reasoning, extract_tag, find_ending, find_tag, is_placeholder
from pop_selfplay.records import Criterion
from pop_selfplay.text.fencing import visible

__all__ = [
    "BETTER",
    "MARKS",
    "RUBRIC",
    "Block",
    "Form",
    "Marks",
    "Parsed",
    "Proposal",
    "Rejection",
    "Side",
    "answer_form",
    "cut_reasoning",
    "evaluation_form",
    "extract_tag",
    "grammar",
    "parse_answer",
    "parse_better",
    "parse_evaluation",
    "parse_marks",
    "parse_proposal",
    "parse_rubric",
    "proposal_form",
    "ratings_form",
    "read_side",
]

Side = Literal["A", "B"]

_ANSWER_OPENS: Final = re.compile(r"<[ \t]*+answer[ \t]*+>", re.IGNORECASE)
_MARK: Final = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)\.?(?:\s*(?:/|out of)\s*10)?", re.ASCII | re.IGNORECASE)
_DECORATION: Final = " \t\r\n*_`\"'“”‘’()[]{}.:"
_SIDE: Final = re.compile(
    r"(?:(?:better |final )?(?:answer|assistant|candidate|choice|option|response|verdict|winner)[\s_:*]*)?(?:is[\s:*]+)?"
    r"(?:\\(?:boxed|text)\{|[(\[*])*([ab])",
    re.IGNORECASE,
)


class Proposal(NamedTuple):
    problem: str
    reference_answer: str


class Marks(NamedTuple):
    """How the two answers of a comparison were rated, each from 0 to 10."""

    a: float
    b: float


def parse_proposal(completion: str) -> Parsed[Proposal] | Rejection:
    """Return the problem and reference answer of a proposer's completion."""
    text = cut_reasoning(completion, "answer")
    if isinstance(text, Rejection):
        return text
    problem = find_tag(text, "problem")
    if isinstance(problem, Rejection) and problem.reason == "unclosed_tag":
        problem = _up_to_answer(text)
    if isinstance(problem, Rejection):
        return problem
    answer = find_tag(text, "answer")
    if isinstance(answer, Rejection):
        return answer
    if not isinstance(find_tag(problem.value, "answer"), Rejection):
        return Rejection("nested_tag", f"<problem> holds the <answer>: {problem.value:.80}")
    return Parsed(Proposal(problem.value, answer.value), problem.repaired or answer.repaired)


def _up_to_answer(text: str) -> Parsed[str] | Rejection:
    """Return the problem whose closing tag is left out right before the answer's opening one: no doubt where it ends."""
    opening = list(_ANSWER_OPENS.finditer(text))
    if len(opening) != 1:
        return Rejection("unclosed_tag", "<problem> is never closed")
    closed = find_tag(f"{text[: opening[0].start()]}</problem>", "problem")
    return closed if isinstance(closed, Rejection) else Parsed(closed.value, repaired=True)


def parse_answer(completion: str, *, tagged: bool = True, boxed: bool = False) -> Parsed[str] | Rejection:
    """Return the final answer of a solver's completion: what stands in the tag. Where there is none, the whole text behind the
    reasoning, open-ended, if it need not be `tagged`, or (then repaired, too) if it is to be `boxed` and ends with its box."""
    text = cut_reasoning(completion, "answer")
    found = text if isinstance(text, Rejection) else find_tag(text, "answer")
    if isinstance(text, Rejection) or not isinstance(found, Rejection) or found.reason != "no_tag":
        return found
    if tagged and not (boxed and ends_with_box(text)):
        return found
    answer = text.strip().removesuffix("</answer>").strip()  # its opening tag was left out
    if not visible(answer).strip():
        return Rejection("empty_tag", "the completion is empty")
    return Rejection("placeholder", f"{answer:.40}") if is_placeholder(answer) else Parsed(answer, tagged, open_ended=True)


def parse_better(completion: str) -> Parsed[Side] | Rejection:
    """Return which answer of a comparison the judge calls the better one."""
    found = find_ending(completion, "better_answer")
    if isinstance(found, Rejection):
        return found
    (verdict,) = found
    if (side := read_side(verdict.value)) is None:
        return Rejection("bad_verdict", f"{verdict.value!r:.80} is neither A nor B")
    return Parsed(side, verdict.repaired or verdict.value != side, verdict.open_ended)


def read_side(verdict: str) -> Side | None:
    """Return the answer that `verdict` names and nothing else: "A", "b.", "**Answer A**"; None where it says anything more."""
    named = _SIDE.fullmatch(unicodedata.normalize("NFKC", visible(verdict)).strip(_DECORATION))
    return None if named is None else "A" if named[1] in "aA" else "B"


def parse_marks(completion: str) -> Parsed[Marks] | Rejection:
    """Return the ratings of both answers of a comparison, plain numbers from 0 to 10."""
    found = find_ending(completion, "rating_A", "rating_B")
    if isinstance(found, Rejection):
        return found
    a, b = map(_mark, found)
    if isinstance(a, Rejection):
        return a
    return b if isinstance(b, Rejection) else Parsed(Marks(a.value, b.value), a.repaired or b.repaired, a.open_ended)


def _mark(written: Parsed[str]) -> Parsed[float] | Rejection:
    mark = _MARK.fullmatch(visible(written.value).strip(" *_`"))
    if mark is None or float(mark[1]) > 10:
        return Rejection("bad_rating", f"{written.value!r:.80} is no number from 0 to 10")
    return Parsed(float(mark[1]), written.repaired or mark[1] != written.value, written.open_ended)


Content = Literal["text", "boxed"] | tuple[str, ...] | JsonSchema
"""Free text; free text with one `\\boxed{…}` at most; one of several texts; JSON by its schema.

A box is not made sure of: models of 0.5B, which may not end an answer that they are done with, go round in circles.
"""

_SPACE: Final = "\u00a0\u00ad\u2000-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff"
_STAND_IN: Final = r".…⋯‥·•_–—*()\[\]{}<>"  # what a placeholder consists of (tags.py), `-` aside
_SOLID: Final = rf"[^ \t\r\n{_SPACE}{_STAND_IN}-]"
_LEAD: Final = rf"[ *_#(\[>.-]{{0,6}} {_SOLID}"
_PLAIN_LEAD: Final = _LEAD.replace("[^", "[^\\\\")  # no beginning of a command
_JSON_LEAD: Final = rf'[^ "\\<{_SPACE}{_STAND_IN}\x00-\x1f-]'
"""How a text that is none of a placeholder's dots begins: some Markdown at most, then a character to be seen."""
_COMMAND: Final = r'"\\" ([^{}<\n\\bB] | [bB] [^{}<\n\\oO])'  # any that cannot become \boxed
_IN_BOX: Final = rf"([^{{}}<\n\\] | {_COMMAND})"
_BOXED: Final = rf'([^ {{}}<\n\\] | {_COMMAND}) ({_IN_BOX} | "{{" ({_IN_BOX} | "{{" {_IN_BOX}* "}}")* "}}")* "}}"'
_STRINGS: Final = {
    "string": rf'"\"" ("\\" "\"")? {_JSON_LEAD} ([^"\\<\x00-\x1f] | "\\" ["\\/nt] | "<" [ =0-9])* "\""',
    "name": rf'"\"" {_JSON_LEAD} [^"\\<\x00-\x1f]{{0,119}} "\""',
}
_COMMA: Final = ' ", " '
_STEP: Final = 32
_BEHIND: Final = r" \t/"


class Block(NamedTuple):
    """`<tag>` and what stands in it; a `tag` of "" is no tag at all."""

    tag: str
    holds: Content


class Form(NamedTuple):
    """The blocks of a completion in order, and the most characters of free text before the first one."""

    blocks: tuple[Block, ...]
    thoughts: int = 0

    def within(self, max_tokens: int) -> "Form":
        """Return the form for `max_tokens`: a character of thoughts for each, and none where a text has to be short."""
        short = max_tokens < _ROOM_TO_THINK and self.blocks[0].holds in ("text", "boxed")
        return self._replace(thoughts=0 if short else min(self.thoughts, max_tokens))


MOST_THOUGHTS: Final = 20_000
_ROOM_TO_THINK: Final = 1024  # tokens; with fewer, small models are cut off as they think, and their answer begins there
RUBRIC: Final = Form((Block("rubric", tagged_rubric_schema()),))
BETTER: Final = Form((Block("better_answer", ("A", "B")),), MOST_THOUGHTS)
MARKS: Final = Form(tuple(Block(f"rating_{side}", tuple(map(str, range(11)))) for side in "AB"), MOST_THOUGHTS)


def proposal_form(*, boxed: bool) -> Form:
    """Return the form of a problem with its reference answer."""
    return Form((Block("problem", "text"), Block("answer", "boxed" if boxed else "text")))


def answer_form(*, boxed: bool) -> Form:
    """Return the form of a solver's completion."""
    return Form((Block("answer", "boxed" if boxed else "text"),), MOST_THOUGHTS)


def evaluation_form(criteria: Sequence[Criterion]) -> Form:
    """Return the form of an evaluation by `criteria`: a name, thoughts and a rating for each, in their order."""
    return Form((Block("evaluation", tagged_evaluation_schema(criteria)),))


def ratings_form(count: int) -> Form:
    """Return the form of bare ratings of `count` criteria."""
    return Form((Block("", ratings_schema(count)),))


def grammar(form: Form) -> str:
    """Return the GBNF grammar of all completions in this form."""
    return _Grammar(form).text()


class _Grammar:
    """Rules end with the text that ends them: engines that read by lexemes need no second look then."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._tags = [f"<{block.tag}" for block in form.blocks if block.tag]
        self._rules: dict[str, str] = {}

    def text(self) -> str:
        first, *others = self._form.blocks
        opening = f"<{first.tag}>" if first.tag else ""
        if self._form.thoughts:
            self._rules["sign"] = _sign([*self._tags, "<think"])
            self._rules["step"] = f"sign{{{_STEP}}}"  # of a fixed length: engines write repetitions out
            steps = f"step{{0,{self._form.thoughts // _STEP}}} sign{{0,{_STEP - 1}}}"
            self._rules["thoughts"] = f"({steps} [.!?:)*\\n] [ \\n]{{0,3}})? {_literal(opening)}"  # a thought comes to an end
        begin = "thoughts" if self._form.thoughts else _literal(opening) if opening else ""
        rest = [f"{_literal(f'{chr(10)}<{block.tag}>')} {self._content(block)}" for block in others]
        root = " ".join([begin, self._content(first), *rest])
        return "\n".join(f"{name} ::= {body}" for name, body in {"root": root, **self._rules}.items()) + "\n"

    def _content(self, block: Block) -> str:
        """Return an expression for what the block holds, with its closing tag."""
        closing = _literal(f"</{block.tag}>") if block.tag else ""
        match block.holds:
            case "text":
                return self._rule(block, f"[\\n]{{0,1}} {_LEAD} {_free([*self._tags, '<think'])} {closing}")
            case "boxed":
                free = _free([*self._tags, "<think", "\\boxed"])
                self._rules["boxed"] = f'"\\\\boxed{{" {_BOXED} {free} {closing}'
                return self._rule(block, f"[\\n]{{0,1}} (boxed | {_PLAIN_LEAD} {free} (boxed | {closing}))")
            case tuple() as texts:
                return f"({' | '.join(map(_literal, texts))}) {closing}"
            case schema:
                around = "[\\n]{0,1}" if closing else ""
                return f"{around} {self._json(schema)} {around} {closing}"

    def _rule(self, block: Block, body: str) -> str:
        name = block.tag.replace("_", "")
        self._rules[name] = body
        return name

    def _json(self, schema: Any) -> str:
        """Return an expression for JSON by `schema`, laid out in one way only: a free layout lets white space run on."""
        if "enum" in schema:
            return "(" + " | ".join(_literal(json.dumps(value, ensure_ascii=False)) for value in schema["enum"]) + ")"
        if schema["type"] == "integer":
            return f"[{schema['minimum']}-{schema['maximum']}]"
        if schema["type"] == "string":
            rule = "name" if "maxLength" in schema else "string"
            self._rules[rule] = _STRINGS[rule]
            return rule
        if schema["type"] == "array":
            return self._list(schema)
        members = [f"{_literal(json.dumps(name) + ': ')} {self._json(inner)}" for name, inner in schema["properties"].items()]
        return f'"{{" {_COMMA.join(members)} "}}"'

    def _list(self, schema: Any) -> str:
        if "prefixItems" in schema:
            entries = list(map(self._json, schema["prefixItems"]))
            alone = f" | {entries[0]}" if len(entries) == 1 else ""  # prompts that ask about one ask for an object
            return f'("[" {_COMMA.join(entries)} "]"{alone})'
        self._rules["item"] = self._json(schema["items"])
        more = schema["maxItems"] - schema["minItems"]
        return f'"[" {_COMMA.join(["item"] * schema["minItems"])} ({_COMMA}item){{0,{more}}} "]"'


def _free(banned: Sequence[str]) -> str:
    """Return an expression for texts of any length without any of `banned`."""
    return f"({_sign(banned)})*"


def _sign(banned: Sequence[str]) -> str:
    """Return an expression for a character of texts without any of `banned`, however written.

    Where a banned text may begin, the expression spells out how what follows can differ from it, letter by letter.
    """
    begins = list(dict.fromkeys(text[0] for text in banned))
    shut = "".join(map(_class, begins))

    def apart(place: str) -> str:
        """What may follow `place`, the beginning of a banned text, until it differs from all of them."""
        following = sorted({text[len(place)] for text in banned if text.startswith(place) and text != place})
        ways = [f"[^{shut}{''.join(map(_class, following))}{_BEHIND if place == '<' else ''}]"]
        ways += [f"[{_class(one)}] {apart(place + one)}" for one in following if place + one not in banned]
        return f"({' | '.join(ways)})"

    ways = [f"({_literal(one)} {f'[{_BEHIND}]*' if one == '<' else ''})+ {apart(one)}" for one in begins]
    return f"[^{shut}] | {' | '.join(ways)}"


def _class(letter: str) -> str:
    """Return a letter in both cases, as it stands in a class of characters."""
    return {"\\": "\\\\", "[": "\\[", "]": "\\]"}.get(
        letter, letter if letter.lower() == letter.upper() else letter.lower() + letter.upper()
    )


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
