"""Units behind a number: one name for each, so that 5 cm is 5 centimetres and never 5 m.

A unit that is not in the table keeps its own word; a new one is a row of `_NAMES`. Nothing is converted: 100 cm is not 1 m.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from pop_selfplay.method.notation import Token


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
