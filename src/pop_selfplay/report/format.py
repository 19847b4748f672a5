"""How a figure with its interval is written, and a foreign text on a terminal: the same in every table and on every page.

The next way to write a number is a `Show` here.
"""

from collections.abc import Callable

from pop_selfplay.results.base import ReportedEstimate

Show = Callable[[float], str]


def decimals(digits: int, *, scale: float = 1.0, signed: bool = False) -> Show:
    """Return how to write numbers with so many digits, times `scale` (100 for shares whose unit stands in the title)."""
    sign = "+" if signed else ""
    return lambda value: f"{value * scale:{sign}.{digits}f}"


def percent(value: float) -> str:
    """Write a share with its unit."""
    return f"{value:.1%}"


def plain(value: float) -> str:
    """Write a number of any size with about three digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"


def estimate_text(estimate: ReportedEstimate | None, show: Show) -> str:
    """Return "mean [low, high]" of an estimate in a result file, "?" for what is unknown; "" where nothing was measured."""
    if estimate is None or estimate.n == 0:
        return ""
    mean, low, high = ("?" if value is None else show(value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def printable(text: str) -> str:
    """Return `text` on one line, without what a terminal might obey: control characters, and marks that turn its direction."""
    return "".join(character if character.isprintable() else " " for character in text)
