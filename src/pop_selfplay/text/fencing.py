"""Make foreign text safe to paste between the tags of a prompt.

Documents and answers are data. Text inside them that looks like one of our tags, or like a chat template's role marker,
would change the structure of the prompt it is pasted into, so its opening bracket is replaced by `&lt;`. A new tag used by
any prompt goes into TAGS, a chat template's marker into one of the lists below it.

A model may read through disguise, so a tag is recognised with invisible characters (zero-width, bidirectional, soft hyphen)
anywhere in it, with white space around its slash, and with full-width brackets. Every pattern takes time linear in the text.
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
    "sys",
    "bos",
    "eos",
    "pad",
    "unk",
    "start_of_turn",
    "end_of_turn",
    "system",
    "user",
    "assistant",
    "tool_call",
    "tool_calls",
    "tool_response",
)
_BRACKET_MARKERS: Final = ("INST", "SYS", "SYSTEM_PROMPT", "AVAILABLE_TOOLS", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT")
_HIDDEN: Final = (
    "\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
)


def _disguised(word: str) -> str:
    """Return a pattern for `word` in narrow or full-width letters, with any hidden characters between them."""
    letters = (f"[{letter}{chr(ord(letter) + 0xFEE0)}]" for letter in word)
    return f"[{_HIDDEN}]*".join(letters)


_NAMES: Final = "|".join(_disguised(name) for name in TAGS + _ROLE_MARKERS)
_GAP: Final = rf"[\s{_HIDDEN}]*"
_ANGLE: Final = re.compile(
    rf"[>＞﹥]|[<＜﹤](?:(?P<marker>(?=[{_HIDDEN}]*[|｜]))|(?P<tag>(?={_GAP}(?:/{_GAP})?(?:{_NAMES})(?:[{_HIDDEN}]|\b))))?",
    re.IGNORECASE,
)
_BRACKETS: Final = "|".join(_disguised(name) for name in _BRACKET_MARKERS)
_BRACKET_MARKER: Final = re.compile(rf"\[(?=[{_HIDDEN}]*/?[{_HIDDEN}]*(?:{_BRACKETS})[{_HIDDEN}]*\])", re.IGNORECASE)
_ENTRY: Final = re.compile(
    rf"(?P<start>[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])(?P<entry>[^\w\n\r]{{0,40}}{_disguised('candidate')}[^\w\n\r]{{0,40}}\d)",
    re.IGNORECASE,
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def quote_lines(answer: str) -> str:
    """Return `answer` with "> " before each line that would begin another entry in a list of candidates."""
    return _ENTRY.sub(r"\g<start>> \g<entry>", answer)


def fence(text: str) -> str:
    """Return `text` with every tag, role marker, control character and lone surrogate made harmless.

    Ordinary prose, markup and code pass unchanged: only the names in TAGS and chat role markers are touched.
    """
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    text = _fence_angles(text)
    return _BRACKET_MARKER.sub("&#91;", text)


def _fence_angles(text: str) -> str:
    """Replace the opening bracket of every tag and marker.

    A tag is a name of ours that is closed before anything else opens. From right to left, because a bracket that is replaced
    opens nothing any more: what lies around it may be a tag then.
    """
    pieces, rest, closed = list[str](), len(text), False
    for found in reversed(list(_ANGLE.finditer(text))):
        if found["marker"] is None and not (closed and found["tag"] is not None):
            closed = found[0] in ">＞﹥"
            continue
        pieces += text[found.start() + 1 : rest], "&lt;"
        rest = found.start()
    return text[:rest] + "".join(reversed(pieces))
