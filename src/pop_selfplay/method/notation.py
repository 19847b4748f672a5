r"""The notation of final answers: LaTeX, Unicode and plain text, brought to one sequence of tokens.

`tokens_of` knows nothing of mathematics: it says that `\dfrac12`, `\tfrac{1}{2}` and ½ are written alike, that `10\,000` and
`1,000,000` are one number each, and that `\mbox{ cm}` is a piece of text. What the tokens mean is read in
`method/expressions.py` and `method/readings.py`. A new way to write the same goes into `_ALIKE`, a new character into
`_CHARACTERS`.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from pop_selfplay.method.tags import is_placeholder

_BRACE: Final = re.compile(r"\\.|[{}]", re.DOTALL)
"""A brace, or what a backslash stands before: braces that are printed, as of a set, need not be balanced."""
_BEHIND_BOX: Final = re.compile(r"(?:\\text\{[^{}]*\}|\\end\{\w+\*?\}|</answer>|I hope it is correct|[\W_])*+", re.IGNORECASE)
_BOX: Final = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")

LONGEST: Final = 300
"""Characters of an answer that is read as mathematics; a longer one is compared as text."""


class Token(NamedTuple):
    r"""`kind`: number (unsigned decimal), letter (one), word (two letters or more), text (what stood in `\text{…}`), command
    (`\sqrt`), sign (anything else). `spaced`: white space stands before it."""

    kind: str
    text: str
    spaced: bool = False


_CHARACTERS: Final = {
    **{
        "−": "-",
        "–": "-",
        "‐": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "∙": r"\cdot ",
        "÷": "/",
        "∕": "/",
        "⁄": "/",
    },
    **{"≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp "},
    **{
        "∞": r"\infty ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "√": r"\sqrt ",
        "°": r"^\circ ",
        "º": r"^\circ ",
    },
    **{
        "π": r"\pi ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "λ": r"\lambda ",
        "φ": r"\phi ",
        "“": '"',
        "”": '"',
        "’": "'",
    },
    **{"½": r"\frac12", "⅓": r"\frac13", "⅔": r"\frac23", "¼": r"\frac14", "¾": r"\frac34", "⅛": r"\frac18", "⅜": r"\frac38"},
    **{"⅝": r"\frac58", "⅞": r"\frac78", "⅕": r"\frac15", "⅖": r"\frac25", "⅗": r"\frac35", "⅘": r"\frac45", "⅙": r"\frac16"},
    **{"\u2009": r"\,", "\u202f": r"\,", "\u00a0": " ", "㎝": r"\text{cm}"},
}
_RAISED: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
_ALIKE: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|!|/)\s*", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|mbox|hbox|operatorname\*?)\s*\{", r"\\text{"),
        (r"\^\s*\{?\s*\\(?:circ|degree)(?![a-zA-Z])\s*\}?|\\degree(?![a-zA-Z])", "°"),
        (r"\\(?:leq|leqslant|le)(?![a-zA-Z])", r"\\le "),
        (r"\\(?:geq|geqslant|ge)(?![a-zA-Z])", r"\\ge "),
        (r"\\(?:neq|ne)(?![a-zA-Z])", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\\(?:varnothing|oslash|O)(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])", "|"),
        (r"\\(?:lbrace)(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace)(?![a-zA-Z])", r"\\}"),
        (r"\\(?:times|cdot|ast)(?![a-zA-Z])|\*", r"\\cdot "),
        (r"\\begin\s*\{[pb]matrix\}", r"\\matrix "),
        (r"\\end\s*\{[pb]matrix\}", r"\\endmatrix "),
        (r"\\\\(?![a-zA-Z])", r"\\nextrow "),
    )
)
_SEPARATORS: Final = (r",", r",\\!\s*", r"\{,\}", r"\\,", r"\\ ", r"\\;", r"\\:", r" ")
_GROUPED: Final = tuple(re.compile(rf"(?<![\d.,\\!}}])[1-9]\d{{0,2}}(?:{by}\d{{3}})+(?!\d|,\d|\{{,)") for by in _SEPARATORS)
_WORDY: Final = ("word", "text", "letter", "number")
_SPACING: Final = re.compile(r"\\(?:[,;:! ]|(?:quad|qquad|hspace\{[^{}]*\}|allowbreak)(?![a-zA-Z]))|~")
_TOKEN: Final = re.compile(
    r"(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,6}(?![\w.]))?)|(?P<text>\\text\{(?:[^{}]|\{[^{}]*\})*\})|(?P<command>\\[a-zA-Z]+)"
    r"|(?P<word>[^\W\d_]{2,})|(?P<letter>[^\W\d_])|(?P<sign>\\.|\S)",
    re.DOTALL,
)


def inside(text: str, opening: int) -> str | None:
    """Return what stands between the brace at `opening` and the one that closes it; None where none does."""
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[opening + 1 : brace.start()]
    return None


def last_box(text: str) -> tuple[str, str] | None:
    r"""Return what stands in the last `\boxed{…}` or `\fbox{…}`, braces balanced, and what follows it; None where there is
    none, or it has no end, or says nothing.
    """
    boxes = list(_BOX.finditer(text))
    found = inside(text, boxes[-1].end()) if boxes else None
    if found is None or not found.strip() or is_placeholder(found):
        return None
    return found.strip(), text[boxes[-1].end() + len(found) + 2 :]


def ends_with_box(text: str) -> bool:
    r"""Whether `text` ends with its last box: behind it come only marks, a unit in `\text{…}`, what closes a
    formula or a tag, and the sentence "I hope it is correct", which models learn with their boxes.
    """
    box = last_box(text)
    return box is not None and _BEHIND_BOX.fullmatch(box[1]) is not None


def tokens_of(answer: str) -> tuple[Token, ...]:
    """Return the tokens of an answer; none for one that says nothing."""
    text = _unwrapped(_characters(answer).strip())
    for pattern, replacement in _ALIKE:
        text = pattern.sub(replacement, text)
    text = _unwrapped(_SPACING.sub(" ", _without_grouping(text)).strip()).rstrip(" .")
    dollars = "" if text.replace(r"\$", "").count("$") % 2 == 0 else r"\$"  # a pair of them marks mathematics, one is money
    text = re.sub(r"(?<!\\)\$", lambda _: dollars, text)
    found, end = [], 0
    for match in _TOKEN.finditer(text):
        kind, said = str(match.lastgroup), match[0]
        if kind == "text":
            said = " ".join(re.sub("[{}]", "", said[6:]).split())
        if said:
            found.append(Token(kind, said, match.start() > end))
        end = match.end()
    return tuple(found)


def compact(tokens: Sequence[Token]) -> str:
    """Return the tokens as one text: spaces only between words and numbers, no braces around one token, case only with digits.

    "Paris" is "paris", but CO2 is not Co2, and CO is not Co.
    """
    folds = not any(token.kind == "number" for token in tokens) and not _is_symbol(tokens)
    pieces: list[str] = []
    for place, token in enumerate(tokens):
        before = tokens[max(place - 1, 0)]
        if (token.text == "{" and _closes(tokens, place + 2)) or (
            token.text == "}" and place > 1 and tokens[place - 2].text == "{"
        ):
            continue
        apart = before.kind != "number" or token.kind == "number"  # 5 cm is 5cm, but 1 2 is not 12
        if pieces and token.spaced and apart and before.kind in _WORDY and token.kind in _WORDY:
            pieces.append(" ")
        pieces.append(token.text.casefold() if folds and token.kind in ("text", "word") else token.text)
    return "".join(pieces)


def _is_symbol(tokens: Sequence[Token]) -> bool:
    """Whether all there is are two capitals: carbon monoxide, and not cobalt."""
    return len(tokens) == 1 and len(tokens[0].text) == 2 and tokens[0].text.isupper()


def _closes(tokens: Sequence[Token], place: int) -> bool:
    return place < len(tokens) and tokens[place].text == "}"


def _characters(answer: str) -> str:
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda found: f"^{{{found[0].translate(_RAISED)}}}", answer)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda found: f"_{{{found[0].translate(_RAISED)}}}", text)
    text = re.sub(r"√\s*(\d+(?:\.\d+)?)", r"\\sqrt{\1}", text)
    text = "".join(_CHARACTERS.get(character, character) for character in text)
    return "".join(_CHARACTERS.get(character, character) for character in unicodedata.normalize("NFKC", text))


def _unwrapped(text: str) -> str:
    r"""Take away what surrounds the whole answer: `$…$`, `\(…\)`, `\[…\]`, `\boxed{…}`, `\fbox{…}`, `\text{…}`, a full stop."""
    while True:
        before = text
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("{", "}")):
            whole = len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
            if whole and (opening != "{" or inside(text, 0) == text[1:-1]):
                text = text[len(opening) : -len(closing)].strip()
        match = re.match(r"\\(?:boxed|fbox|text)\s*(?=\{)", text)
        if match and inside(text, match.end()) == text[match.end() + 1 : -1] and text.endswith("}"):
            text = text[match.end() + 1 : -1].strip()
        if text == before:
            return text


def _without_grouping(text: str) -> str:
    for by, pattern in zip(_SEPARATORS, _GROUPED, strict=True):
        text = pattern.sub(partial(_joined, by=by), text)
    return text


def _joined(found: re.Match[str], by: str) -> str:
    before = found.string[: found.start()]
    if by == "," and any(before.count(opening) > before.count(closing) for opening, closing in ("()", "[]", "{}")):
        return found[0]  # within brackets a comma parts two items
    return re.sub(r"\D", "", found[0])
