"""The part of a completion that counts: behind its reasoning, between its tags.

A tag may be written in capitals or with white space in it, and may be named before it is used ("I put it in <answer> tags"):
that leaves no doubt, and is told as repaired. Two filled ones do, and are refused. The marks of another model's reasoning go
into `_REASONING`, another way to name a tag without using it into `_MENTIONED`.
"""

import re
from typing import Final, Generic, NamedTuple, TypeVar

from pop_selfplay.text.fencing import visible

T = TypeVar("T")

_REASONING: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
)
_QUOTES: Final = ("\"'“‘«`", "\"'”’»`\\")  # before and behind what is quoted; the last as a quote within JSON is written
_NO_WORDS: Final = re.compile(r"[\s.…⋯‥·•_\-–—*()\[\]{}<>]*+")
_LEFT_OUT: Final = re.compile(r"[.…⋯‥]|[_\-–—*]{2}")
_JSON_BEGINS: Final = re.compile(r"\s*(?:```|[{\[])")
_MENTIONED: Final = re.compile(
    r"""\s*(?:tags?|elements?|blocks?|markers?|sections?)\b  # "the <answer> tag"
    | \s*(?:and|…|\.\.\.|to|or)\s+</                         # "between <answer> and </answer>"
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LEADS: Final = r"[\W_]*(?:(?:therefore|thus|hence|so|overall|finally)\b[\s,]*)?(?:the )?(?:letter of the )?(?:final )?"
"""What may stand in a line before the name of a tag."""
_GOES_ON: Final = re.compile(r"[.,;:!?)]|[ \t]+[a-z]")
ONLY_REASONING: Final = (
    "all the text is reasoning and no answer follows: if the answer is in it, the server's reasoning parser does not fit the "
    "model (vLLM and SGLang: --reasoning-parser, llama.cpp: --reasoning-format); else raise max_tokens"
)


class Rejection(NamedTuple):
    """Why a completion was refused: a stable word, and the detail for a reader."""

    reason: str
    detail: str = ""


class Parsed(NamedTuple, Generic[T]):
    """A value from a completion. `repaired` tells that its form had to be mended before it parsed, `open_ended` that nothing in
    the text shows where it ends, so that it counts only where the model ended by itself."""

    value: T
    repaired: bool = False
    open_ended: bool = False


class _Mark(NamedTuple):
    """An opening or closing tag in a text."""

    start: int
    end: int
    closes: bool


def cut_reasoning(completion: str, tag: str | None = None, *, json: bool = False) -> str | Rejection:
    """Return what follows the end of the reasoning, the last `</think>`; the whole text where there is none.

    A `</think>` in quotation marks ends nothing. Neither does one inside the `tag` that is asked for, once the reasoning is
    over, or in `json` text that no reasoning was begun before: that is quoted, in the thoughts of a judge, say.
    """
    begun = completion.lstrip()[:20].casefold()
    opening, closing = next((marks for marks in _REASONING if begun.startswith(marks[0])), _REASONING[0])
    ends = _unquoted(completion, closing)
    opened = begun.startswith(opening)
    if json and tag is None:
        if _JSON_BEGINS.match(completion):
            return completion
        ends = [end for end in ends if _JSON_BEGINS.match(completion, end)] or ends
    elif tag is not None and ends:
        first, last = _last_block(completion, tag)
        before = [end for end in ends if not first < end < last]
        if (before or (json and not opened)) and not _unquoted(completion[first:last], opening):
            ends = before
    if not ends:
        return Rejection("unclosed_reasoning", completion[:80]) if opened else completion
    if not completion[ends[-1] :].strip():
        return Rejection("only_reasoning", ONLY_REASONING)
    return completion[ends[-1] :]


def extract_tag(text: str, tag: str) -> str | Rejection:
    """Return the stripped content of the one `<tag>…</tag>` in `text`."""
    found = find_tag(text, tag)
    return found if isinstance(found, Rejection) else found.value


def find_tag(text: str, tag: str) -> Parsed[str] | Rejection:
    """Return the same, and whether its form had to be mended."""
    marks = _marks(text, tag)
    opened = [mark for mark in marks if not mark.closes]
    if not opened:
        return Rejection("no_tag", f"no <{tag}>")
    if len(opened) > 1 or len(marks) - len(opened) > 1:
        block = _used(text, marks)
        if block is None:
            return Rejection("repeated_tag", f"{len(opened)} times <{tag}>, {len(marks) - len(opened)} times </{tag}>")
    else:
        block = opened[0], next((mark for mark in marks if mark.closes and mark.start >= opened[0].end), None)
    begin, end = block
    if end is None:
        return Rejection("unclosed_tag", f"<{tag}> is never closed")
    content = text[begin.end : end.start].strip()
    if not visible(content).strip():
        return Rejection("empty_tag", f"<{tag}> holds nothing")
    if is_placeholder(content):
        return Rejection("placeholder", f"<{tag}> holds only {content:.40}")
    plainly = text[begin.start : begin.end] == f"<{tag}>" and text[end.start : end.end] == f"</{tag}>" and len(marks) == 2
    return Parsed(content, not plainly)


def find_ending(completion: str, *tags: str) -> list[Parsed[str]] | Rejection:
    """Return the content of each of the `tags` that a judge is to end with.

    Last lines that say the same, "Rating_A: 8" or "So the better answer is B.", one for each tag in their order, are read, too;
    nothing shows that the last one is whole. Models of 1.5B write them as often as a tag. They are not read where any of the
    tags, or another such line, stands in the text besides.
    """
    text = cut_reasoning(completion, tags[-1])
    if isinstance(text, Rejection):
        return text
    lines = [line for line in text.splitlines() if visible(line).strip()]
    named = [(tag, said) for line in lines for tag in tags if (said := _labelled(line, tag))]
    last = [(tag, _labelled(line, tag)) for line, tag in zip(lines[-len(tags) :], tags, strict=False)]
    in_lines = named == last and not any(_marks(text, tag) for tag in tags)
    if in_lines:
        text = "".join(f"<{tag}>{said}</{tag}>" for tag, said in last)
    found = []
    for tag in tags:
        block = find_tag(text, tag)
        if isinstance(block, Rejection):
            return block
        found.append(Parsed(block.value, block.repaired or in_lines, open_ended=in_lines))
    return found


def _labelled(line: str, tag: str) -> str | None:
    """Return what a line says of `tag`: `8` of "**Rating A:** 8"."""
    name = re.escape(tag).replace("_", r"[_\s]?")
    found = re.fullmatch(rf"{_LEADS}{name}[\W_]*?(?:[:=]|\bis\b)[\s*_]*(.+)", visible(line).strip(), re.IGNORECASE)
    return found and found[1]


def _marks(text: str, tag: str) -> list[_Mark]:
    pattern = rf"<[ \t]*+(/?+)[ \t]*+{re.escape(tag)}[ \t]*+>"  # possessive: no way back into a megabyte of spaces
    return [_Mark(found.start(), found.end(), bool(found[1])) for found in re.finditer(pattern, text, re.IGNORECASE)]


def _quoted(text: str, start: int, end: int) -> bool:
    return start > 0 and end < len(text) and text[start - 1] in _QUOTES[0] and text[end] in _QUOTES[1]


def _unquoted(text: str, mark: str) -> list[int]:
    """Return where each occurrence of `mark` ends that is not in quotation marks."""
    found = re.finditer(re.escape(mark), text, re.IGNORECASE)
    return [one.end() for one in found if not _quoted(text, one.start(), one.end())]


def _last_block(text: str, tag: str) -> tuple[int, int]:
    """Return where the last `<tag>` begins and ends; (0, 0) where none is closed."""
    marks = _marks(text, tag)
    if not marks or not marks[-1].closes:
        return 0, 0
    return next(((mark.start, marks[-1].end) for mark in reversed(marks) if not mark.closes), (0, 0))


def _used(text: str, marks: list[_Mark]) -> tuple[_Mark, _Mark | None] | None:
    """Return the one pair of tags that is used, where all others are only named; None where that is in doubt."""
    blocks: list[tuple[_Mark, _Mark | None]] = []
    waiting: _Mark | None = None
    for mark in marks:
        if _quoted(text, mark.start, mark.end):
            continue
        if mark.closes:
            if waiting is None:
                return None
            blocks.append((waiting, mark))
            waiting = None
        elif waiting is not None and not _named(text, waiting):
            return None
        else:
            waiting = mark
    if waiting is not None and not _named(text, waiting):
        blocks.append((waiting, None))
    filled = [block for block in blocks if not _only_named(text, block)]
    return filled[0] if len(filled) == 1 else None


def is_placeholder(text: str) -> bool:
    """Whether a text only stands for one: "...", "[…]", "--"."""
    seen = visible(text)
    return _NO_WORDS.fullmatch(seen) is not None and _LEFT_OUT.search(seen) is not None


def _named(text: str, mark: _Mark) -> bool:
    """Whether an opening tag stands in a sentence that is about it."""
    line = text[text.rfind("\n", 0, mark.start) + 1 : mark.start]
    in_sentence = line[-1:] in (" ", "(") and _GOES_ON.match(text, mark.end) is not None
    return in_sentence or _MENTIONED.match(text, mark.end) is not None


def _only_named(text: str, block: tuple[_Mark, _Mark | None]) -> bool:
    begin, end = block
    if end is None:
        return False
    content = visible(text[begin.end : end.start]).strip()
    return not content or content.casefold() in ("and", "or", "to") or is_placeholder(content)
