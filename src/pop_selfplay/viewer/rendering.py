"""Foreign texts as HTML that can do nothing: Markdown with formulas, the words by which two answers differ.

What models and documents say is data. Markdown is rendered without raw HTML, its links lead nowhere and its images are not
fetched: both are shown as text. Formulas become MathML, of which only what `_TAGS` and `_ATTRIBUTES` name is kept. All else is
escaped. A new notation is a rule of `_markdown`.
"""

import difflib
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin

_MOST_FORMULA: Final = 4000
_MOST_TEXT: Final = 40_000
_MOST_OPENINGS: Final = 500
"""Characters, and openings of formulas and links, up to which Markdown is read: what is open is looked for to the end."""
_MOST_WORDS: Final = 8000
_NAMESPACE: Final = "{http://www.w3.org/1998/Math/MathML}"
_TAGS: Final = frozenset(
    "math mrow mi mn mo mtext mspace ms mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd menclose".split()
)
_ATTRIBUTES: Final = frozenset(
    "display displaystyle mathvariant stretchy fence separator accent accentunder linethickness columnalign rowspacing "
    "columnspacing notation form lspace rspace minsize maxsize width height depth scriptlevel movablelimits symmetric".split()
)


def markdown(text: str) -> Markup:
    """Return the HTML of a text's Markdown and formulas; one that is too long, or made of openings alone, is shown as it is."""
    openings = text.count("\\(") + text.count("\\[") + text.count("[")
    if len(text) > _MOST_TEXT or openings > _MOST_OPENINGS:
        return Markup('<pre class="text">{}</pre>').format(text)
    try:
        return Markup(_markdown().render(text))
    except (RecursionError, ValueError):
        return Markup('<pre class="text">{}</pre>').format(text)


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    dollarmath_plugin(parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    texmath_plugin(parser, delimiters="brackets")
    for name in ("math_inline", "math_single"):
        parser.add_render_rule(name, _inline_formula)
    for name in ("math_inline_double", "math_block", "math_block_eqno"):
        parser.add_render_rule(name, _display_formula)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("link_close", _link_close)
    return parser


def _inline_formula(_renderer: object, tokens: Sequence[Token], place: int, _options: object, _env: object) -> str:
    return formula(tokens[place].content, display=False)


def _display_formula(_renderer: object, tokens: Sequence[Token], place: int, _options: object, _env: object) -> str:
    return f'<span class="formula">{formula(tokens[place].content, display=True)}</span>'


def _image(_renderer: object, tokens: Sequence[Token], place: int, _options: object, _env: object) -> str:
    token = tokens[place]
    return f'<span class="link">[image: {escape(token.content)}] <small>({escape(token.attrs.get("src", ""))})</small></span>'


def _link_open(_renderer: object, _tokens: Sequence[Token], _place: int, _options: object, _env: object) -> str:
    return '<span class="link">'


def _link_close(_renderer: object, tokens: Sequence[Token], place: int, _options: object, _env: object) -> str:
    opened = next(token for token in reversed(tokens[:place]) if token.type == "link_open")
    return f" <small>({escape(opened.attrs.get('href', ''))})</small></span>"


@lru_cache(maxsize=4096)
def formula(latex: str, *, display: bool) -> Markup:
    """Return MathML for a formula, or the formula as it is written where it cannot be read."""
    try:
        if len(latex) > _MOST_FORMULA:
            raise ValueError("too long")
        written = convert(latex.strip(), display="block" if display else "inline")
        root = ElementTree.fromstring(written)
        return Markup(ElementTree.tostring(_kept(root), encoding="unicode", short_empty_elements=False))
    except Exception:  # noqa: BLE001 - latex2mathml raises many kinds, and a formula must not cost the page
        return Markup('<code class="formula">{}</code>').format(latex)


def _kept(node: ElementTree.Element) -> ElementTree.Element:
    """Return `node` with nothing in it but the elements and attributes of plain MathML; of others the text stays."""
    name = node.tag.removeprefix(_NAMESPACE)
    kept = ElementTree.Element(name if name in _TAGS else "mtext")
    kept.attrib.update({key: value for key, value in node.attrib.items() if key in _ATTRIBUTES})
    kept.text = node.text if name in _TAGS else "".join(node.itertext())
    for child in node if name in _TAGS else ():
        kept.append(_kept(child))
        kept[-1].tail = child.tail
    return kept


class Part(NamedTuple):
    text: str
    own: bool
    """Whether these words are in this text alone."""


def word_difference(one: str, other: str) -> tuple[list[Part], list[Part]]:
    """Return both texts in parts, each marked by whether the other one lacks it. White space belongs to the word before it."""
    first, second = (re.findall(r"\s*\S+\s*", text) for text in (one, other))
    if len(first) + len(second) > _MOST_WORDS:
        return [Part(one, False)], [Part(other, False)]
    bare = [word.strip() for word in first], [word.strip() for word in second]
    left: list[Part] = []
    right: list[Part] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, *bare, autojunk=False).get_opcodes():
        left += [Part("".join(first[a:b]), tag != "equal")] if a < b else []
        right += [Part("".join(second[c:d]), tag != "equal")] if c < d else []
    return left, right
