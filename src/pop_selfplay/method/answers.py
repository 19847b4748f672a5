r"""Is the boxed final answer of a text the one of the reference? For tasks with one right answer (math, knowledge).

Answers are trained on, so a false "equal" costs more than a missed one. What both sides say is read strictly, as text, value
with its unit, list, tuple or interval, set, matrix, equation or inequality; what cannot be read in one way only is compared as
text, once markup, case and white space are gone. These readings are conventions, and nothing else is forgiven:

- a unit may be left out on one side (5 cm, 5), never be another one (5 mg, 5 g); 10 % is 10 and 0.1; 2 million is 2,000,000
- the name in front of a value may be left out (x = 5, 5), not be another one; `x \in [1, 2]` and `1 ≤ x ≤ 2` are the interval
- values in a bare list, in a set, or with "or" or ± may stand in any order; in brackets, and words, they may not
- `4210_5` is in base 5: equal only to the same digits in the same base

And which answers should earn nothing: refusals, and answers that hold the rubric. Both are told by stated rules, which miss
some and may wrong a few; what counts is how often, and whether such answers win. The next such sign is a function here.
"""

import re
from collections.abc import Sequence
from typing import Final

from pop_selfplay.method.notation import LONGEST, compact, last_box, tokens_of
from pop_selfplay.method.readings import Reading, as_equation, read_answer
from pop_selfplay.method.terms import Node, number
from pop_selfplay.method.values import PERCENT, same_equation, same_expression
from pop_selfplay.records import Rubric
from pop_selfplay.text.overlap import normalised_words


def final_answer(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{…}` or `\fbox{…}`, braces balanced; None where there is none,
    or it has no end, or says nothing.
    """
    box = last_box(text)
    return None if box is None else box[0]


def same_final_answer(text: str, reference: str) -> bool:
    """Return whether the boxed answer of `text` is that of `reference`; False where either has none."""
    answer, right = final_answer(text), final_answer(reference)
    return answer is not None and right is not None and equal_answers(answer, right)


def equal_answers(answer: str, right: str) -> bool:
    """Return whether two final answers, without their boxes, say the same. Answers that say nothing never do."""
    if max(len(answer), len(right)) > LONGEST:
        one, other = compact(tokens_of(answer)), compact(tokens_of(right))
        return bool(one) and one == other
    said, wanted = read_answer(answer), read_answer(right)
    return bool(said.text and wanted.text) and _same(said, wanted)


def _same(one: Reading, other: Reading) -> bool:
    if one.text and one.text == other.text:
        return True
    if one.label and other.label and one.label != other.label:
        return _same_equations(one, other)
    if one.kind != other.kind:
        return "equation" in (one.kind, other.kind) and _same_equations(one, other)
    if one.kind == "value":
        return _same_values(one, other)
    if one.kind == "equation":
        return _same_equations(one, other)
    if one.shape != other.shape or len(one.items) != len(other.items):
        return False
    if one.kind in ("list", "union"):
        return _same_in_any_order(one.items, other.items)
    return bool(one.items) and all(map(_same, one.items, other.items))


def _same_equations(one: Reading, other: Reading) -> bool:
    nodes = as_equation(one), as_equation(other)
    return nodes[0] is not None and nodes[1] is not None and same_equation(nodes[0], nodes[1])


def _same_values(one: Reading, other: Reading) -> bool:
    """Whether values agree, and their units, of which either side may leave out an optional one."""
    if one.unit.name != other.unit.name:
        named = one if one.unit.name else other
        if (one.unit.name and other.unit.name) or not named.unit.optional:
            return False
        bare = other if named is one else one
        if named.unit.name == PERCENT and same_expression(Node("/", (named.node, number(100))), bare.node):
            return True
    return same_expression(one.node, other.node)


def _same_in_any_order(ones: Sequence[Reading], others: Sequence[Reading]) -> bool:
    """Whether each of `ones` has its own like among `others`. Where items have names of their own, these must be the same."""
    labels = [[item.label for item in items] for items in (ones, others)]
    if any(len(set(found) - {""}) > 1 for found in labels) and sorted(labels[0]) != sorted(labels[1]):
        return False
    left = list(others)
    for item in ones:
        found = next((other for other in left if _same(item, other)), None)
        if found is None:
            return False
        left.remove(found)
    return True


_REFUSAL: Final = re.compile(
    r"(?:i\s+am|i['’]m)\s+(?:sorry|unable|not\s+able)\b|i\s+apologi[sz]e\b|sorry\s*,|"
    r"i\s+(?:can\s?not|can['’]t|won['’]t|will\s+not|must\s+decline)\b|as\s+an?\s+(?:ai|artificial|language)\b|"
    r"there\s+is\s+not\s+enough\s+information|(?:unfortunately\s*,\s*)?i\s+(?:do\s+not|don['’]t)\s+have\s+(?:access|enough)",
    re.IGNORECASE,
)
_BEGINNING: Final = 200
"""Characters of an answer in which a refusal stands, if it is one: what says "I cannot" later on mostly goes on to help."""

COPIED_WORDS: Final = 8


def is_refusal(answer: str) -> bool:
    """Whether the answer begins by declining."""
    return _REFUSAL.search(answer[:_BEGINNING]) is not None


def copies_rubric(answer: str, rubric: Rubric, problem: str) -> bool:
    """Whether the answer shares eight words in a row with a gold or description of the rubric that are not in the problem.

    The solver never sees the rubric. So either the rubric was copied from this answer, and favours it, or something leaks.
    """
    said = _runs(answer) - _runs(problem)
    return any(said & (_runs(criterion.gold) | _runs(criterion.description)) for criterion in rubric.criteria)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = normalised_words(text)
    return {tuple(words[start : start + COPIED_WORDS]) for start in range(len(words) - COPIED_WORDS + 1)}
