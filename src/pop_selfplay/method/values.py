"""Units behind a number: one name for each, so that 5 cm is 5 centimetres and never 5 m.

A unit that is not in the table keeps its own word; a new one is a row of `_NAMES`. Nothing is converted: 100 cm is not 1 m.

What an expression is worth, and whether two are the same.

Values are compared at fixed points for the variables: exactly where both are rational, else at two precisions, where a true
equality shows as a difference that shrinks with the precision, and a small difference, as of 2^-99 and 2^-98 of √2, does not.
A new operation is one row of `_OPERATIONS`.
"""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Final, NamedTuple

from pop_selfplay.method.notation import Token
from pop_selfplay.method.terms import FUNCTIONS, Node, UnreadableExpression, names_in
from pop_selfplay.seeds import derive_seed


class Unit(NamedTuple):
    """`name` is canonical, "cm^2" or "mile/hour"; `optional`: one side may leave it out; `times` is a word of scale."""

    name: str = ""
    optional: bool = True
    times: Fraction = Fraction(1)


NO_UNIT: Final = Unit()
PERCENT: Final = "%"
_NAMES: Final = {
    **{
        "mm": "millimeter millimetre",
        "cm": "centimeter centimetre",
        "dm": "decimeter",
        "m": "meter metre",
        "km": "kilometer kilometre",
    },
    **{
        "inch": "in",
        "foot": "feet ft",
        "yard": "yd",
        "mile": "mi",
        "mg": "milligram",
        "g": "gram gm",
        "kg": "kilogram",
        "pound": "lb",
    },
    **{
        "ounce": "oz",
        "ton": "",
        "tonne": "",
        "ms": "millisecond",
        "second": "s sec",
        "minute": "min",
        "hour": "h hr",
        "day": "",
        "week": "",
    },
    **{
        "month": "",
        "year": "yr",
        "ml": "mL milliliter millilitre",
        "liter": "l L litre",
        "gallon": "gal",
        "cup": "",
        "deg": "degree °",
    },
    **{
        "°C": "celsius",
        "°F": "fahrenheit",
        "K": "kelvin",
        "radian": "rad",
        "dollar": r"$ \$ usd",
        "cent": "¢ ￠",
        "euro": "€",
        "pound sterling": "£",
    },
    **{
        PERCENT: r"percent \%",
        "mile/hour": "mph",
        "km/hour": "kmh kph",
        "unit": "",
        "N": "newton",
        "J": "joule",
        "W": "watt",
        "V": "volt",
        "A": "ampere amp",
    },
    **{"Hz": "hertz", "Pa": "pascal", "mol": "mole", "acre": "", "hectare": "ha"},
}
_KNOWN: Final = {name: name for name in _NAMES} | {other: name for name, others in _NAMES.items() for other in others.split()}
_SCALES: Final = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_MEANING: Final = frozenset(
    "or and if when where for more less least most than not about approximately per of at each to from by between".split()
) | {"am", "pm", "ad", "bc", "ce", "bce"}
"""Words that change what the number says: what follows it is no mere unit, and may not be left out."""
_PART: Final = re.compile(r"°\s?[CFcf](?![a-z])|[^\W\d_]+\.?|\\?[%$°¢€£]|\^|/|\d+|\S")


def unit_of(tokens: Sequence[Token]) -> Unit | None:
    """Return the unit that the tokens behind a number are; None where they are none."""
    parts = _PART.findall(" ".join(token.text for token in tokens if token.text not in ("{", "}")).replace("° ", "°"))
    words: list[str] = []
    known, times, next_power = True, Fraction(1), ""
    for place, part in enumerate(parts):
        word = part.rstrip(".")
        lower = word.casefold()
        if lower in _SCALES and not words:
            times *= _SCALES[lower]
        elif lower in ("square", "sq", "cubic", "cu"):
            next_power = "^2" if lower[0] == "s" else "^3"
        elif lower == "squared" and words:
            words[-1] += "^2"
        elif part == "^" or (part.isdecimal() and place and parts[place - 1] == "^"):
            words[-1:] = ["".join(words[-1:]) + part]
        elif (part == "/" or lower in ("per", "an", "a")) and words:
            words += ["/"] if lower in ("/", "per") else []
        elif word.isalpha() or part in _KNOWN or part[0] == "°":
            name = _name(part.replace(" ", "").upper() if part[0] == "°" and len(part) > 1 else word)
            known = known and name in _NAMES
            words.append(name + next_power)
            next_power = ""
        else:
            return None
    if set(words) & _MEANING and not known:
        return Unit(" ".join(words), optional=False, times=times)
    optional = known or all(token.kind == "text" for token in tokens)
    return Unit("/".join(" ".join(words).split(" / ")), optional, times) if words or times != 1 else None


def _name(word: str) -> str:
    """Return the canonical name of a unit. Short ones keep their case: mg is not Mg."""
    if word.casefold() in _MEANING:
        return word.casefold()
    candidates = [word, word.removesuffix("s")]
    if len(word) > 3:
        lower = word.casefold()
        candidates += [lower, lower.removesuffix("s"), lower.removesuffix("es")]
    found = next((_KNOWN[name] for name in candidates if name in _KNOWN), None)
    return found or (word.casefold().removesuffix("s") if len(word) > 3 else word)


Value = Any
"""A Fraction where it is exact, else a number of mpmath."""

_BITS: Final = 100_000
_LARGEST_EXPONENT: Final = 10**9
_LARGEST_FACTORIAL: Final = 5000
_POINTS: Final = 3
_DIGITS: Final = (100, 200)
_SHRUNK: Final = 150
"""Bits by which a difference shrinks from the rough to the fine precision (of 332 bits more) where it is none."""


def constant(node: Node) -> Fraction | None:
    """Return the rational number that an expression without variables is; None where it is none."""
    try:
        found = _evaluate(node, 0, _context(_DIGITS[0])) if not names_in(node) else None
    except (UnreadableExpression, ArithmeticError, ValueError):
        return None
    return found if isinstance(found, Fraction) else None


def same_expression(one: Node, other: Node) -> bool:
    """Return whether two expressions have the same value wherever both have one."""
    return _agree(lambda point, m: (_evaluate(one, point, m), _evaluate(other, point, m)))


def same_equation(one: Node, other: Node) -> bool:
    """Return whether `one` = 0 and `other` = 0 say the same: their ratio is one constant, not 0."""

    def cross(point: int, m: Any) -> tuple[Value, Value]:
        a, b, c, d = (_evaluate(node, at, m) for at in (point, _POINTS) for node in (one, other))
        if any(not value for value in (a, b, c, d)):
            raise UnreadableExpression("an equation that holds everywhere, or nowhere")
        return _times(a, d), _times(b, c)

    return bool(names_in(one)) and _agree(cross)


def _agree(pair: Callable[[int, Any], tuple[Value, Value]]) -> bool:
    """Whether two values are the same at every point: exactly, or, where they are inexact, as far as the precision goes."""
    try:
        return all(_same(*(pair(point, _context(digits)) for digits in _DIGITS)) for point in range(_POINTS))
    except (UnreadableExpression, ArithmeticError, ValueError):
        return False


def _same(rough: tuple[Value, Value], fine: tuple[Value, Value]) -> bool:
    difference = _plus(fine[0], -fine[1])
    if not difference or isinstance(difference, Fraction):
        return not difference
    m, before = _context(_DIGITS[0]), _plus(rough[0], -rough[1])
    noise: int = m.mag(before) if before else max(m.mag(_mp(m, value)) for value in rough) - m.prec
    return bool(_context(_DIGITS[1]).mag(difference) < noise - _SHRUNK)


@cache
def _context(digits: int) -> Any:
    from mpmath.ctx_mp import MPContext  # takes a moment, so only when it is needed

    context = MPContext()
    context.dps = digits
    return context


@cache
def _at(name: str, point: int) -> Fraction:
    """Return the value of a variable at one of the points: negative at the second one, below 1 at the third."""
    seed = derive_seed("variable", name, point)
    top, bottom = 1009 + seed % 9000, 1009 + seed // 9000 % 9000
    return Fraction(-top if point == 1 else top, top + bottom if point == 2 else bottom)


def _evaluate(node: Node, point: int, m: Any) -> Value:
    if node.op == "number":
        return node.value
    if node.op == "variable":
        return _at(node.name, point)
    if node.op == "constant":
        return {"pi": m.pi, "e": m.e, "i": m.j}[node.name] * m.one
    return _OPERATIONS[node.op](m, *(_evaluate(part, point, m) for part in node.of))


def _mp(m: Any, value: Value) -> Value:
    return m.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _small(value: Value) -> Value:
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS:
        raise UnreadableExpression("a number of too many digits")
    return value


def _plus(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _small(a + b)
    return _exact_with(a, b, lambda x, y: x + y)


def _times(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _small(a * b)
    return _exact_with(a, b, lambda x, y: x * y)


def _exact_with(a: Value, b: Value, do: Callable[[Value, Value], Value]) -> Value:
    m = (b if isinstance(a, Fraction) else a).context
    return do(_mp(m, a), _mp(m, b))


def _divide(m: Any, a: Value, b: Value) -> Value:
    if not b:
        raise UnreadableExpression("a division by 0")
    return _small(a / b) if isinstance(a, Fraction) and isinstance(b, Fraction) else _mp(m, a) / _mp(m, b)


def _power(m: Any, base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        if not base and exponent <= 0:
            raise UnreadableExpression("a power of 0")
        if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) <= _BITS:
            return base ** int(exponent)
    if not base or abs(exponent) > _LARGEST_EXPONENT:
        raise UnreadableExpression("a power too large to compute")
    return m.power(_mp(m, base), _mp(m, exponent))


def _root(m: Any, degree: Value, value: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= 1000:
        raise UnreadableExpression("a root of a degree that is no whole number from 2 to 1000")
    n = int(degree)
    if isinstance(value, Fraction):
        roots = [_whole_root(part, n) for part in (abs(value.numerator), value.denominator)]
        if None not in roots and (value >= 0 or n % 2):
            return Fraction(roots[0] or 0, roots[1] or 1) * (-1 if value < 0 else 1)
        if value < 0 and n % 2:
            return -m.root(_mp(m, -value), n)
    return m.root(_mp(m, value), n)


def _whole_root(value: int, degree: int) -> int | None:
    if value.bit_length() > 2000:
        return None
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def _factorial(m: Any, value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= _LARGEST_FACTORIAL:
        raise UnreadableExpression(f"a factorial of what is no whole number from 0 to {_LARGEST_FACTORIAL}")
    return Fraction(math.factorial(int(value)))


def _binomial(m: Any, n: Value, k: Value) -> Value:
    whole = all(isinstance(x, Fraction) and x.denominator == 1 and 0 <= x <= _LARGEST_FACTORIAL for x in (n, k))
    if not whole:
        raise UnreadableExpression("a binomial of what are no whole numbers")
    return Fraction(math.comb(int(n), int(k)))


def _function(m: Any, name: str, x: Value) -> Value:
    if name == "log":  # of a base that nobody named: like no other logarithm
        return m.log(x) * m.sqrt(m.mpf(7919) / 7907)
    if name == "lg":
        return m.log(x, 10)
    return getattr(m, {"ln": "log"}.get(name, name.replace("arc", "a")))(x)


_OPERATIONS: Final[dict[str, Callable[..., Value]]] = {
    "+": lambda m, a, b: _plus(a, b),
    "-": lambda m, a: -a,
    "*": lambda m, a, b: _times(a, b),
    "/": _divide,
    "^": _power,
    "root": _root,
    "!": _factorial,
    "binom": _binomial,
    "abs": lambda m, a: abs(a),
    "log_base": lambda m, base, x: m.log(_mp(m, x)) / m.log(_mp(m, base)),
    "degrees": lambda m, a: _mp(m, a) * m.pi / 180,
    **{name: lambda m, x, name=name: _function(m, name, _mp(m, x)) for name in FUNCTIONS},
}
