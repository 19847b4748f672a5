r"""What a final answer says: a value with its unit, a list, a tuple or interval, a set, a matrix, an equation, or only a text.

`read_answer` never fails: what cannot be read in one way only is a text. Whether two readings say the same is decided in
`method/answers.py`; a new kind of answer is a reader in `_structured` and a row there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pop_selfplay.method.expressions import read_expression
from pop_selfplay.method.notation import Token, compact, tokens_of
from pop_selfplay.method.terms import Node, UnreadableExpression, names_in, number
from pop_selfplay.method.values import NO_UNIT, Unit, same_expression, unit_of

Kind = Literal["text", "value", "list", "ordered", "bracket", "union", "matrix", "equation"]
Tokens = Sequence[Token]
_NOTHING: Final = number(0)


@dataclass(frozen=True)
class Reading:
    """`text` is the whole answer without markup; `label` the name in front of it, x of x = 5.

    A value or an equation (`node` = 0) has a `node`, everything else `items`. `shape` holds the two brackets of a tuple or
    interval, or the number of rows of a matrix.
    """

    kind: Kind
    text: str
    node: Node = _NOTHING
    items: tuple["Reading", ...] = ()
    label: str = ""
    unit: Unit = NO_UNIT
    shape: str = ""


MOST_TOKENS: Final = 160
_OPENING: Final = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\matrix": r"\endmatrix"}
_CLOSING: Final = frozenset({")", "]", "}", r"\}", r"\endmatrix"})
_ORDER: Final = {"<": 1, r"\le": 1, ">": -1, r"\ge": -1}
_MONEY: Final = frozenset({r"\$", "€", "£"})
_INFINITE: Final = {
    r"\infty": r"\infty",
    r"+\infty": r"\infty",
    r"-\infty": r"-\infty",
    "infinity": r"\infty",
    "-infinity": r"-\infty",
}


_OPTIONS: Final = "abcdefghijABCDEFGHIJ"


def read_answer(answer: str) -> Reading:
    """Return what an answer says; its `text` is empty where that is nothing."""
    return _read(tokens_of(answer))


def _read(tokens: Tokens) -> Reading:
    text = compact(tokens)
    letters = [token for token in tokens if token.text not in ("(", ")", ".")]
    if len(letters) == 1 and letters[0].kind == "letter":
        letter = letters[0].text
        return Reading("text", letter.casefold() if letter in _OPTIONS else letter)  # of an option, or a variable
    if not tokens or len(tokens) > MOST_TOKENS or all(token.kind in ("word", "text") for token in tokens):
        return Reading("text", text)
    if text in _INFINITE:
        return Reading("text", _INFINITE[text])
    try:
        return _whole(tokens)
    except UnreadableExpression:
        return Reading("text", text)


def _whole(tokens: Tokens) -> Reading:
    """Return what the tokens say with their text. Raises UnreadableExpression where it is not clear."""
    return replace(_structured(tokens), text=compact(tokens))


def _structured(tokens: Tokens) -> Reading:
    parts = list(_parts(tokens, _separates))
    if len(parts) > 1:
        return _alternatives(tokens, _list(parts))
    united = list(_parts(tokens, lambda token: token.text == r"\cup"))
    if len(united) > 1:
        return Reading("union", "", items=tuple(_whole(part) for part in united))
    relations = [token.text for place, token in enumerate(tokens) if _depth(tokens, place) == 0 and _relates(token)]
    if relations:
        return _related(list(_parts(tokens, _relates)), relations)
    return _bracketed(tokens) or _value(tokens)


def _parts(tokens: Tokens, parts: Callable[[Token], bool]) -> Iterator[Tokens]:
    """Yield what stands between the tokens outside of all brackets for which `parts` holds."""
    begin = 0
    for place, token in enumerate(tokens):
        if parts(token) and _depth(tokens, place) == 0:
            if place > begin or token.text == ",":
                yield tokens[begin:place]
            begin = place + 1
    yield tokens[begin:]


def _depth(tokens: Tokens, place: int) -> int:
    """Return in how many brackets a token stands; `[` and `(` may be closed by one another."""
    before = [token.text for token in tokens[:place] if token.kind in ("sign", "command")]
    return sum(text in _OPENING for text in before) - sum(text in _CLOSING for text in before)


def _separates(token: Token) -> bool:
    return token.text in (",", ";") or (token.kind in ("word", "text") and token.text.casefold() in ("and", "or"))


def _relates(token: Token) -> bool:
    return token.text in ("=", r"\in", r"\approx", r"\ne", *_ORDER)


# --- lists and brackets -----------------------------------------------------------------------------------------------


def _list(parts: Sequence[Tokens]) -> Reading:
    """Read a bare list: of values in any order, of words in theirs. x = 1, 2 names both."""
    items = [_read(part) for part in parts]
    if any(not item.text for item in items):
        raise UnreadableExpression("a list with nothing between two commas")
    kind: Kind = "ordered" if any(item.kind == "text" for item in items) else "list"
    if items[0].label and not any(item.label for item in items[1:]):
        return Reading(kind, "", items=(replace(items[0], label=""), *items[1:]), label=items[0].label)
    return Reading(kind, "", items=tuple(items))


def _alternatives(tokens: Tokens, listed: Reading) -> Reading:
    """Return x < 2 or x > 3 as the union of its intervals, any other list as it is."""
    labels = {item.label for item in listed.items}
    either = not any(token.text in (",", ";", "and") for place, token in enumerate(tokens) if _depth(tokens, place) == 0)
    if not either or len(labels) > 1 or any(item.kind != "bracket" or not item.label for item in listed.items):
        return listed
    return Reading("union", "", items=tuple(replace(item, label="") for item in listed.items), label=labels.pop())


def _bracketed(tokens: Tokens) -> Reading | None:
    r"""Read what is one pair of brackets: `\{1, 2\}`, `(1, 2]`, a matrix; None where it is not, or a mere expression."""
    first, last = tokens[0].text, tokens[-1].text
    if first not in _OPENING or last not in _CLOSING or any(_depth(tokens, place) == 0 for place in range(1, len(tokens))):
        return None
    body = tokens[1:-1]
    if first == r"\matrix" and last == r"\endmatrix":
        rows = [
            list(_parts(row, lambda token: token.text == "&")) for row in _parts(body, lambda token: token.text == r"\nextrow")
        ]
        rows = [row for row in rows if any(row)]
        return Reading("matrix", "", items=tuple(_read(cell) for row in rows for cell in row), shape=str(len(rows)))
    parts = list(_parts(body, lambda token: token.text == ","))
    if first == r"\{" and last == r"\}":
        listed = [_read(part) for part in parts]
        if any(not item.text for item in listed):
            raise UnreadableExpression("a set with nothing between two commas")
        return Reading(
            "list", "", items=tuple(item for one in listed for item in (one.items if one.kind == "list" else (one,)))
        )
    if len(parts) < 2 or first not in "([" or last not in ")]":
        return None
    return Reading("bracket", "", items=tuple(_read(part) for part in parts), shape=first + last)


# --- relations --------------------------------------------------------------------------------------------------------


def _related(parts: Sequence[Tokens], relations: Sequence[str]) -> Reading:
    if len(parts) != len(relations) + 1 or not all(parts):
        raise UnreadableExpression("a relation without one side")
    if r"\approx" in relations:  # what is exact stands first
        place = relations.index(r"\approx")
        return _related(parts[: place + 1], relations[:place]) if place else _structured(parts[0])
    if set(relations) == {"="}:
        return _equal(parts)
    if relations == [r"\in"] and _is_name(parts[0]):
        return replace(_structured(parts[1]), label=compact(parts[0]))
    if all(relation in _ORDER for relation in relations):
        return _inequality(parts, relations)
    raise UnreadableExpression("a relation of another kind")


def _equal(parts: Sequence[Tokens]) -> Reading:
    r"""Read `x = 5`, `2 + 3 = 5`, `x = 2 + 3 = 5` as the value, any other equation as left − right = 0."""
    if len(parts) == 2 and _is_name(parts[1]) and not _is_name(parts[0]):
        parts = parts[::-1]
    if _is_name(parts[0]):
        readings = [_structured(part) for part in parts[1:]]
        if any(reading.kind != "value" or not same_expression(reading.node, readings[-1].node) for reading in readings[:-1]):
            raise UnreadableExpression("an equation of several sides that are not equal")
        return replace(readings[-1], label=compact(parts[0]))
    nodes = [read_expression(part) for part in parts]
    if not any(names_in(node) for node in nodes):
        if all(same_expression(node, nodes[-1]) for node in nodes):
            return Reading("value", "", node=nodes[-1])
        raise UnreadableExpression("an equation that does not hold")
    if len(nodes) != 2:
        raise UnreadableExpression("an equation of several sides")
    return Reading("equation", "", node=_difference(*nodes))


def _difference(left: Node, right: Node) -> Node:
    return Node("+", (left, Node("-", (right,))))


def as_equation(reading: Reading) -> Node | None:
    """Return the node that an equation sets to 0, also of a value with a label such as y = 2x; None where it is none."""
    if reading.kind == "equation":
        return reading.node
    try:
        label = read_expression(tokens_of(reading.label))
    except UnreadableExpression:
        return None
    return _difference(label, reading.node) if reading.kind == "value" and label.op == "variable" else None


def _is_name(tokens: Tokens) -> bool:
    r"""Whether the tokens are a name: x, x_1, `\theta`, f(x), area, `\text{Area}`."""
    if all(token.kind in ("word", "text") for token in tokens):
        return True
    if len(tokens) == 4 and [token.kind for token in tokens] == ["letter", "sign", "letter", "sign"]:
        return tokens[1].text == "("
    try:
        return read_expression(tokens).op == "variable"
    except UnreadableExpression:
        return False


def _inequality(parts: Sequence[Tokens], relations: Sequence[str]) -> Reading:
    """Read x > 2 and 1 ≤ x < 3 as the interval in which x lies."""
    if len({_ORDER[relation] for relation in relations}) > 1:
        raise UnreadableExpression("inequalities of both directions")
    sides, signs = list(parts), list(relations)
    if _ORDER[signs[0]] < 0:
        sides, signs = sides[::-1], signs[::-1]
    strict = [sign in ("<", ">") for sign in signs]
    infinite = Reading("text", r"\infty")
    if len(sides) == 2 and _is_name(sides[0]):
        items, ends, name = (replace(infinite, text=r"-\infty"), _end(sides[1])), (True, strict[0]), sides[0]
    elif len(sides) == 2 and _is_name(sides[1]):
        items, ends, name = (_end(sides[0]), infinite), (strict[0], True), sides[1]
    elif len(sides) == 3 and _is_name(sides[1]):
        items, ends, name = (_end(sides[0]), _end(sides[2])), (strict[0], strict[1]), sides[1]
    else:
        raise UnreadableExpression("an inequality without a variable on one side")
    return Reading("bracket", "", items=items, label=compact(name), shape=("(" if ends[0] else "[") + (")" if ends[1] else "]"))


def _end(tokens: Tokens) -> Reading:
    """Return an end of an interval: a value, or infinity."""
    text = compact(tokens)
    return Reading("text", _INFINITE[text]) if text in _INFINITE else _whole(tokens)


# --- values -----------------------------------------------------------------------------------------------------------


def _value(tokens: Tokens) -> Reading:
    r"""Read an expression with its unit; one with `\pm` is the list of its two values."""
    body, unit = _without_unit(tokens)
    signs = (1, -1) if any(token.text in (r"\pm", r"\mp") for token in body) else (1,)
    nodes = [read_expression(body, sign) for sign in signs]
    if unit.times != 1:
        nodes = [Node("*", (node, number(unit.times))) for node in nodes]
    values = tuple(Reading("value", "", node=node, unit=unit) for node in nodes)
    return values[0] if len(values) == 1 else Reading("list", "", items=values)


def _without_unit(tokens: Tokens) -> tuple[Tokens, Unit]:
    """Split into the expression and the unit behind or, of money, in front of it."""
    if not tokens:
        raise UnreadableExpression("money without a number")
    if tokens[0].text in _MONEY or (tokens[0].text == "-" and len(tokens) > 2 and tokens[1].text in _MONEY):
        place = 0 if tokens[0].text in _MONEY else 1
        money, rest = tokens[place], (*tokens[:place], *tokens[place + 1 :])
        body, unit = _without_unit(rest)
        if unit.name:
            raise UnreadableExpression("money with another unit")
        return body, unit._replace(name=_money_name(money))
    for place in range(1, len(tokens)):
        if tokens[place].kind in ("text", "word") or tokens[place].text in ("°", "%", r"\%", "¢"):
            found = unit_of(tokens[place:])
            variables = tokens[place].kind == "word" and not tokens[place].spaced  # the xy of 2xy, not the cm of 2cm
            if found is not None and (found.optional or not variables) and _is_expression(tokens[:place]):
                return tokens[:place], found
    return tokens, NO_UNIT


def _money_name(token: Token) -> str:
    found = unit_of([token])
    return found.name if found else token.text


def _is_expression(tokens: Tokens) -> bool:
    try:
        read_expression(tokens)
    except UnreadableExpression:
        return False
    return True
