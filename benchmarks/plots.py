"""Plots as small SVG files, written by hand: values with intervals, and the single runs behind them as dots.

No plotting library is needed for that, and the files stay readable as text. The next kind of plot is a function here.
"""

import html
import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 760, 300, 30, 30, 46, 44
COLOURS: Final = ("#1b6ca8", "#c2571a", "#6a6a6a", "#2f8f4e")


class Row(NamedTuple):
    """One value with its interval; `dots` are single runs, `colour` a place in COLOURS."""

    label: str
    mean: float
    low: float
    high: float
    dots: Sequence[float] = ()
    colour: int = 0


def intervals(title: str, axis: str, rows: Sequence[Row], *, line: float | None = None) -> str:
    """Return an SVG with one row for each of `rows`, and a dashed vertical line at `line`: no effect, or chance."""
    values = [value for row in rows for value in (row.low, row.high, *row.dots)] + ([] if line is None else [line])
    low, high, step = _scale(min(values), max(values))
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{html.escape(title)}</text>',
    ]
    bottom = height - BOTTOM
    for tick in range(round((high - low) / step) + 1):
        value = low + tick * step
        parts.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle" fill="#444">{value:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{height - 8}" text-anchor="middle">{html.escape(axis)}</text>')
    if line is not None:
        parts.append(
            f'<line x1="{x(line):.1f}" x2="{x(line):.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#222" stroke-dasharray="4 3"/>'
        )
    for place, row in enumerate(rows):
        parts += _row(row, TOP + ROW * place + ROW / 2, x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, y: float, at: Callable[[float], float]) -> list[str]:
    colour = COLOURS[row.colour % len(COLOURS)]
    dots = [f'<circle cx="{at(dot):.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.3"/>' for dot in row.dots]
    return [
        f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{html.escape(row.label)}</text>',
        *dots,
        f'<path d="M{at(row.low):.1f} {y:.1f} H{at(row.high):.1f}" stroke="{colour}" stroke-width="2.5"/>',
        f'<circle cx="{at(row.mean):.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>',
    ]


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """Return (low, high, step) of an axis with round numbers that holds both."""
    width = (most - least) or 1.0
    step = 10 ** math.floor(math.log10(width / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if width / (step * factor) <= 8)
    return math.floor(least / step) * step, math.ceil(most / step) * step, step
