"""Make foreign text safe to paste between the tags of a prompt.

Documents and answers are data. Text inside them that looks like one of our tags, or like a chat template's role marker,
would change the structure of the prompt it is pasted into, so its opening bracket is replaced by `&lt;`. A new tag used by
any prompt goes into TAGS.
"""

import re
from typing import Final

TAGS: Final = (
    "document",
    "title",
    "problem",
    "reference_answer",
    "answer",
    "answer_a",
    "answer_b",
    "candidate_answer",
    "candidates",
    "rubric",
    "criterion",
    "evaluation",
    "better_answer",
    "rating_a",
    "rating_b",
    "think",
)
_ROLE_MARKERS: Final = (
    "s",
    "start_of_turn",
    "end_of_turn",
    "bos",
    "eos",
    "system",
    "user",
    "assistant",
    "tool_call",
    "tool_response",
)
_STRUCTURE: Final = re.compile(r"<(?=\s*/?\s*(?:" + "|".join(TAGS + _ROLE_MARKERS) + r")\b[^<>]*>|\|)", re.IGNORECASE)
_INSTRUCTION_MARKER: Final = re.compile(r"\[(?=/?(?:INST|SYS)\])")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def fence(text: str) -> str:
    """Return `text` with every tag, role marker, control character and lone surrogate made harmless.

    Ordinary prose, markup and code pass unchanged: only the names in TAGS and chat role markers are touched.
    """
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    text = _STRUCTURE.sub("&lt;", text)
    return _INSTRUCTION_MARKER.sub("&#91;", text)
