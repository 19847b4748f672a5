"""Answers that should earn nothing: refusals, and answers that hold the rubric.

Both are told by stated rules, so they miss some and may wrong a few; what counts is how often, and whether such answers win.
"""

import re
from typing import Final

from pop_selfplay.core.shingles import normalised_words
from pop_selfplay.records import Rubric

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
