"""JSON as models write it: read where its mistakes leave no doubt about what is meant, refused where they do.

Mended, and told as repaired: backslashes that are no escapes (LaTeX), quotes and line breaks inside texts, single and curly
quotes, comments, commas too many or too few, bare keys and words, code fences, prose before and after, closing brackets missing
at the end, objects with commas between them and no brackets around. Refused: a key that stands twice in an object, a second
object after the first with nothing between them, or words, and a text without an end. Nothing is ever left out or cut to size:
what stands for a number and is none comes back as text, for the caller to refuse.

LaTeX is told from escapes by its commands, since `\\t` of `\\theta` and `\\f` of `\\frac` are valid escapes, too: a form feed
or a backspace is never meant, and `\\n`, `\\r`, `\\t` begin a command where their letters spell one of `_COMMANDS`.

The next mistake that leaves no doubt becomes a case in `_Reader`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pop_selfplay.text.fencing import visible

_DEEPEST: Final = 32
_COMMANDS: Final = frozenset(
    """
    nabla natural ncong ne nearrow neg neq newcommand newline nexists ngeq ngeqslant ngtr nleftarrow nleq nleqslant nmid
    noindent nolimits nonumber norm not notag notin nprec nrightarrow nRightarrow nsim nsubseteq nsucc nsupseteq nu
    nwarrow raise raisebox rangle rbrace rbrack rceil ref renewcommand rfloor rgroup rho right rightarrow rightharpoonup
    rightleftharpoons rightsquigarrow rm rmoustache root rvert rVert tag tan tanh tau tbinom text textbf textit textrm textsf
    textsc textstyle texttt textup tfrac therefore theta thetasym thickapprox thinspace tilde times to top triangle triangledown
    triangleleft triangleq triangleright tt twoheadrightarrow
    """.split()
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[a-zA-Z]+|.)", re.DOTALL)
_CODE_POINT: Final = re.compile(r"u[0-9a-fA-F]{4}")
_ESCAPED: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t"}
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_CODE_FENCE: Final = re.compile(r"\A\s*```[\w-]*[ \t]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)

_GAP: Final = r"(?:\s|//[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/)*+"
_QUOTED: Final = r"\"[^\"\n]{1,200}\"|'[^'\n]{1,200}'|“[^”\n]{1,200}[”\"]|‘[^’\n]{1,200}’"
_BARE: Final = r"[A-Za-z_]\w{0,40}"
_PLAIN: Final = r"(?:(?!//|/\*)[^,}\]\n\"“”{\[])"
_MEMBER: Final = rf"(?:{_QUOTED}|{_BARE}){_GAP}:{_GAP}(?:[\"'“‘{{\[]|{_PLAIN}{{1,80}}{_GAP}(?=[,}}\]]|\Z))"
_NEXT: Final = re.compile(rf",{_GAP}(?:{_MEMBER}|[}}\]]|\Z)|(?={_QUOTED}){_MEMBER}")
_NEXT_ELEMENT: Final = re.compile(rf",{_GAP}[\"'“‘{{\[\d\-\]tfn]")
_START: Final = re.compile(rf"\{{(?={_GAP}(?:[\"'“‘}}]|{_BARE}\s*:))|\[(?={_GAP}[{{\]])")
_MEMBERS_ALONE: Final = re.compile(rf"\s*(?:{_QUOTED})\s*:\s*\{{")
_SKIP: Final = re.compile(_GAP)
_KEY: Final = re.compile(_BARE)
_WORDS: Final = re.compile(rf"{_PLAIN}+(?:,(?=\d){_PLAIN}+)*")
_NUMBER: Final = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_CONSTANTS: Final[Mapping[str, Any]] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "nan": float("nan"),
    "infinity": float("inf"),
    "-infinity": float("-inf"),
}
_CLOSING: Final = {'"': '"', "'": "'", "“": '”"', "‘": "’'"}


class UnreadableJSON(ValueError):
    """Text that is not JSON even when mended. `reason` is the word for it in the table of `parsing.py`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_json(body: str, *, closed: bool) -> tuple[Any, bool]:
    """Return the one object or list in `body`, and whether it had to be mended.

    `closed` tells that something else shows where it ends (a tag), so that brackets missing at the end may be filled in;
    without it they are a sign that the text broke off. Raises UnreadableJSON with the reason: bad_json, wrong_shape for a
    second object, duplicate_name for a key that stands twice.
    """
    fenced = _CODE_FENCE.match(body)
    text = fenced[1] if fenced else body
    mended = _ESCAPE.sub(_keep_latex, text)
    items = mended.rstrip(" \n,")
    listed = f"[{items}]"  # objects with commas between them are a list that lacks its brackets
    for said in (mended, listed) if closed and text.lstrip().startswith("{") else (mended,):
        try:
            return json.loads(said, object_pairs_hook=unique_keys), said != text
        except UnreadableJSON:
            raise
        except (ValueError, RecursionError):
            continue
    return _Reader(mended, closed).read(), True


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    """Return the object of these members. Raises UnreadableJSON where two keys are one but for case and hidden characters."""
    if len({folded(key) for key, _ in pairs}) < len(pairs):
        raise UnreadableJSON("duplicate_name", f"a key appears twice among {[key for key, _ in pairs]!r:.200}")
    return dict(pairs)


def folded(key: str) -> str:
    """Return what two keys have in common that differ in nothing but case, white space and characters that cannot be seen."""
    return " ".join(visible(key).split()).casefold()


def _keep_latex(match: re.Match[str]) -> str:
    """Return an escape as it is where JSON knows it and means it, with its backslash doubled where it is meant as one."""
    said = match[1]
    known = said[0] in "\"\\/'" or said[0] in _LETTERS or _CODE_POINT.fullmatch(said) is not None
    return match[0] if known and said not in _COMMANDS else "\\" + match[0]


def _unescaped(raw: str) -> str:
    def value(match: re.Match[str]) -> str:
        said = match[1]
        return chr(int(said[1:], 16)) if len(said) > 1 else _LETTERS.get(said, said)

    text = _ESCAPED.sub(value, raw)
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


class _Reader:
    """One reading of a text that is nearly JSON, its escapes already sound."""

    def __init__(self, text: str, closed: bool) -> None:
        self._text = text
        self._closed = closed
        self._place = 0
        self._depth = 0

    def read(self) -> Any:
        if _MEMBERS_ALONE.match(self._text):
            self._text = "{" + self._text + "}"
        start = _START.search(self._text)
        if start is None:
            raise self._bad("no object")
        self._place = start.start()
        value = self._value(within="")
        if _START.search(self._text, self._place):
            raise UnreadableJSON("wrong_shape", f"a second object follows the first: {self._text[self._place :]!r:.200}")
        return value

    def _bad(self, what: str) -> UnreadableJSON:
        return UnreadableJSON("bad_json", f"{what} at character {self._place}: {self._text[self._place : self._place + 80]!r}")

    def _next(self) -> str:
        """Skip white space and comments, and return the character behind them, "" at the end."""
        self._place = _SKIP.match(self._text, self._place).end()  # type: ignore[union-attr]  # it matches nothing, too
        return self._text[self._place : self._place + 1]

    def _value(self, within: str) -> Any:
        first = self._next()
        if first in ("{", "["):
            return self._object() if first == "{" else self._list()
        if first and first in _CLOSING:
            return self._string(self._ends_element if within == "[" else self._ends_value)
        return self._words(within)

    def _enter(self) -> None:
        self._place += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._bad("nested too deep")

    def _leaves(self, bracket: str) -> bool:
        """Whether the object or list ends here, and step over its end."""
        found = self._next()
        if found == bracket or (not found and self._closed):
            self._place += len(found)
            self._depth -= 1
            return True
        if not found:
            raise self._bad("it breaks off")
        return False

    def _object(self) -> dict[str, object]:
        self._enter()
        pairs: list[tuple[str, Any]] = []
        while not self._leaves("}"):
            key = self._key()
            if self._next() != ":":
                raise self._bad("a key without a value")
            self._place += 1
            pairs.append((key, self._value(within="{")))
            self._comma("}")
        return unique_keys(pairs)

    def _list(self) -> list[Any]:
        self._enter()
        elements = []
        while not self._leaves("]"):
            elements.append(self._value(within="["))
            self._comma("]")
        return elements

    def _comma(self, bracket: str) -> None:
        """Step over a comma. Objects may lack it in a list, members before a quoted key."""
        found = self._next()
        if found == ",":
            self._place += 1
        elif found and found not in (bracket, "{" if bracket == "]" else "", *("\"'“‘" if bracket == "}" else "")):
            raise self._bad("no comma")

    def _key(self) -> str:
        if self._next() in _CLOSING:
            return self._string(self._ends_key)
        bare = _KEY.match(self._text, self._place)
        if bare is None:
            raise self._bad("no key")
        self._place = bare.end()
        return bare[0]

    def _string(self, ends: Callable[[int], bool]) -> str:
        """Return the text up to the first closing quote after which the JSON goes on as it must."""
        closing = _CLOSING[self._text[self._place]]
        begin = place = self._place + 1
        while place < len(self._text):
            if self._text[place] == "\\":
                place += 2
                continue
            if self._text[place] in closing and ends(place + 1):
                self._place = place + 1
                return _unescaped(self._text[begin:place])
            place += 1
        raise self._bad("a text without an end")

    def _after(self, place: int) -> int:
        return _SKIP.match(self._text, place).end()  # type: ignore[union-attr]  # it matches nothing, too

    def _ends_key(self, place: int) -> bool:
        return self._text.startswith(":", self._after(place))

    def _ends_value(self, place: int) -> bool:
        after = self._after(place)
        return self._text[after : after + 1] in ("", "}", "]") or _NEXT.match(self._text, after) is not None

    def _ends_element(self, place: int) -> bool:
        after = self._after(place)
        return self._text[after : after + 1] in ("", "]") or _NEXT_ELEMENT.match(self._text, after) is not None

    def _words(self, within: str) -> Any:
        """Return a number or constant, or what stands in place of one as text."""
        found = (_WORDS if within == "{" else re.compile(_PLAIN + "+")).match(self._text, self._place)
        if found is None or self._text[found.end() : found.end() + 1] in ('"', "“", "”", "{", "["):
            raise self._bad("no value")
        self._place, said = found.end(), found[0].strip()
        if _NUMBER.fullmatch(said):
            return float(said) if set(said) & set(".eE") else int(said)
        return _CONSTANTS.get(said.casefold(), said)
