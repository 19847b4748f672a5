"""Is the boxed final answer of a text the one of the reference? For tasks with one right answer (math, knowledge).

Three steps, the first that can tell decides: equal text once markup, case and white space are gone; equal numbers (1,000 and
1000, 1/2 and 0.5); equal mathematics by math-verify (x+1 and 1+x, √18 and 3√2). Answers without digit, operator or command
are words and never go to math-verify, which would read them as products of letters: "elbow" would equal "below".

A comparison that takes math-verify longer than `SECONDS` counts as unequal. The limit is an alarm signal, which only the main
thread may set; in any other thread there is no limit, and answers of more than `LONGEST` characters are compared as text only.

Answers that should earn nothing: refusals, and answers that hold the rubric.

Both are told by stated rules, so they miss some and may wrong a few; what counts is how often, and whether such answers win.
"""

import importlib
import logging
import re
import threading
import unicodedata
from fractions import Fraction
from typing import Any, Final

from pop_selfplay.records import Rubric
from pop_selfplay.text.overlap import normalised_words

SECONDS: Final = 3
LONGEST: Final = 300
_BOX: Final = "\\boxed{"
_WRAPPED: Final = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_SPACING: Final = re.compile(r"\\[,;:! ]|\\(?:quad|qquad|left|right|displaystyle)(?![a-zA-Z])|~|\$")
_FRACTION: Final = re.compile(r"\\[dt]?frac\s*\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}")
_GROUPED: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})")
_RATIO: Final = re.compile(r"([+-]?\d{1,40})/(\d{1,40})")
_MATHEMATICS: Final = re.compile(r"[\d\\^_+*/=<>|√π∞{}]")


def final_answer(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{…}` of `text`, braces balanced; None where there is none, or no end."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOX)
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place].strip()
    return None


def same_final_answer(text: str, reference: str) -> bool:
    """Return whether the boxed answer of `text` is that of `reference`; False where either has none."""
    answer, right = final_answer(text), final_answer(reference)
    return answer is not None and right is not None and equal_answers(answer, right)


def equal_answers(answer: str, right: str) -> bool:
    """Return whether two final answers, without their boxes, say the same."""
    one, other = _plain(answer), _plain(right)
    if not one or not other:
        return False
    if one == other:
        return True
    numbers = _number(one), _number(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if not (_MATHEMATICS.search(one) and _MATHEMATICS.search(other)):
        return False
    return max(len(answer), len(right)) <= LONGEST and _equal_mathematics(answer, right)


def _plain(answer: str) -> str:
    text = unicodedata.normalize("NFKC", answer).replace("−", "-")
    while (unwrapped := _WRAPPED.sub(r"\1", text)) != text:
        text = unwrapped
    text = " ".join(_SPACING.sub(" ", text).split()).casefold().strip(" .")
    text = _GROUPED.sub("", _FRACTION.sub(r"\1/\2", text))
    if re.fullmatch(r"\([a-z]\)", text):  # the letter of an option
        text = text[1]
    return text


def _number(plain: str) -> Fraction | None:
    if _NUMBER.fullmatch(plain):
        return Fraction(plain)
    ratio = _RATIO.fullmatch(plain.replace(" ", ""))
    return Fraction(int(ratio[1]), int(ratio[2])) if ratio and int(ratio[2]) else None


def _equal_mathematics(answer: str, right: str) -> bool:
    library: Any = importlib.import_module("math_verify")  # takes a second, so only when it is needed
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it would print answers that it cannot read
    seconds = SECONDS if threading.current_thread() is threading.main_thread() else None
    gold, target = (library.parse(f"{_BOX}{text}}}", parsing_timeout=seconds) for text in (right, answer))
    return bool(library.verify(gold, target, timeout_seconds=seconds))


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
