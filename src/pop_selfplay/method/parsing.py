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
`rubric_json.py`, broken JSON in `json_output.py`, proposals, answers and comparisons here; a new form goes where its kind is.

Difference from the paper: its reference code clips ratings into [0, 2], counts a left-out criterion as 0 and lets duplicate
names overwrite each other; here each of these rejects the completion, and the stage asks again.
"""

import re
import unicodedata
from typing import Final, Literal, NamedTuple

from pop_selfplay.method.rubric_json import parse_evaluation, parse_rubric
from pop_selfplay.method.tags import Parsed, Rejection, cut_reasoning, extract_tag, find_tag
from pop_selfplay.text.fencing import visible

__all__ = [
    "Marks",
    "Parsed",
    "Proposal",
    "Rejection",
    "Side",
    "cut_reasoning",
    "extract_tag",
    "parse_answer",
    "parse_better",
    "parse_evaluation",
    "parse_marks",
    "parse_proposal",
    "parse_rubric",
    "read_side",
]

Side = Literal["A", "B"]

_MARK: Final = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)\.?(?:\s*(?:/|out of)\s*10)?", re.ASCII | re.IGNORECASE)
_DECORATION: Final = " \t\r\n*_`\"'“”‘’()[]{}.:"
_SIDE: Final = re.compile(
    r"(?:(?:better |final )?(?:answer|assistant|candidate|choice|option|response|verdict|winner)[\s_:*]*)?"
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
    if isinstance(problem, Rejection):
        return problem
    answer = find_tag(text, "answer")
    if isinstance(answer, Rejection):
        return answer
    if not isinstance(find_tag(problem.value, "answer"), Rejection):
        return Rejection("nested_tag", f"<problem> holds the <answer>: {problem.value:.80}")
    return Parsed(Proposal(problem.value, answer.value), problem.repaired or answer.repaired)


def parse_answer(completion: str) -> Parsed[str] | Rejection:
    """Return the final answer of a solver's completion."""
    text = cut_reasoning(completion, "answer")
    return text if isinstance(text, Rejection) else find_tag(text, "answer")


def parse_better(completion: str) -> Parsed[Side] | Rejection:
    """Return which answer of a comparison the judge calls the better one."""
    text = cut_reasoning(completion, "better_answer")
    verdict = text if isinstance(text, Rejection) else find_tag(text, "better_answer")
    if isinstance(verdict, Rejection):
        return verdict
    side = read_side(verdict.value)
    if side is None:
        return Rejection("bad_verdict", f"{verdict.value!r:.80} is neither A nor B")
    return Parsed(side, verdict.repaired or verdict.value != side)


def read_side(verdict: str) -> Side | None:
    """Return the answer that `verdict` names and nothing else: "A", "b.", "**Answer A**"; None where it says anything more."""
    named = _SIDE.fullmatch(unicodedata.normalize("NFKC", visible(verdict)).strip(_DECORATION))
    return None if named is None else "A" if named[1] in "aA" else "B"


def parse_marks(completion: str) -> Parsed[Marks] | Rejection:
    """Return the ratings of both answers of a comparison, plain numbers from 0 to 10."""
    text = cut_reasoning(completion, "rating_B")
    if isinstance(text, Rejection):
        return text
    a, b = _mark(text, "rating_A"), _mark(text, "rating_B")
    if isinstance(a, Rejection):
        return a
    return b if isinstance(b, Rejection) else Parsed(Marks(a.value, b.value), a.repaired or b.repaired)


def _mark(text: str, tag: str) -> Parsed[float] | Rejection:
    written = find_tag(text, tag)
    if isinstance(written, Rejection):
        return written
    mark = _MARK.fullmatch(visible(written.value).strip(" *_`"))
    if mark is None or float(mark[1]) > 10:
        return Rejection("bad_rating", f"{written.value!r:.80} in <{tag}> is no number from 0 to 10")
    return Parsed(float(mark[1]), written.repaired or mark[1] != written.value)
