"""The pictures of report.html: SVG drawn by matplotlib, without a script, in colours that follow the page's light or dark.

Colours in the drawing are placeholders which become CSS variables, text stays text. Where matplotlib (the extra `report`) is
not installed the page has its tables alone. A new picture is a function that returns `_svg(figure, what it shows)`.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from pop_selfplay.extras import absent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FIRST, SECOND, THIRD = "#010203", "#0102a1", "#0102a2", "#0102a3"
_VARIABLES: Final = {INK: "currentColor", FIRST: "var(--first)", SECOND: "var(--second)", THIRD: "var(--third)"}
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pop",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # names of criteria may hold dollars
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
Named = tuple[str, float, float]


class Interval(NamedTuple):
    label: str
    mean: float
    low: float
    high: float


def drawable() -> bool:
    """Tell whether pictures can be drawn here."""
    return not absent("report")


@contextmanager
def _drawing(wide: float, high: float) -> "Iterator[tuple[Figure, Any]]":
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are a Literal of hundreds
        figure = Figure(figsize=(wide, high), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: "Figure", says: str) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(says)}" ', 1))


def intervals(rows: Sequence[Interval], axis: str) -> Markup:
    """Return one line for each (label, mean, low, high), the first at the top; labels alternate before and after."""
    with _drawing(7, 0.6 + 0.32 * len(rows)) as (figure, axes):
        for place, (_, mean, low, high) in enumerate(rows):
            colour = FIRST if place % 2 else THIRD
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(mean, place, "o" if place % 2 else "s", color=colour)
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        return _svg(figure, "; ".join(f"{label} {mean:.3g}" for label, mean, _, _ in rows))


def bars(counts: Mapping[str, float], axis: str, *, lost: Sequence[str] = ()) -> Markup:
    """Return one bar for each count, the first at the top; those that were `lost` are in another colour and hatched."""
    with _drawing(7, 0.6 + 0.27 * max(1, len(counts))) as (figure, axes):
        names = list(counts)
        drawn = axes.barh(range(len(names)), list(counts.values()), color=[SECOND if n in lost else FIRST for n in names])
        axes.bar_label(drawn, fmt=_short, padding=3)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=axis, xmargin=0.12)
        return _svg(figure, "; ".join(f"{name} {_short(count)}" for name, count in counts.items()))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def distributions(values: Mapping[str, Sequence[float]], axis: str) -> Markup:
    """Return the distribution of each of up to three sets of values, as shares of the set."""
    with _drawing(7, 2.6) as (figure, axes):
        every = np.concatenate([np.asarray(v, dtype=float) for v in values.values()])
        edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-9), 21)
        for (name, found), colour, line in zip(values.items(), (THIRD, FIRST, SECOND), ("-", "--", ":"), strict=False):
            share = np.histogram(found, edges)[0] / max(1, len(found))
            axes.stairs(share, edges, label=name, color=colour, linestyle=line, linewidth=1.8)
        axes.set(xlabel=axis, ylabel="share")
        axes.legend()
        return _svg(figure, f"distributions of {', '.join(values)}")


def points(xs: Sequence[float], ys: Sequence[float], axes_said: tuple[str, str], names: Iterable[Named] = ()) -> Markup:
    """Return a cloud of points, with `names`, each with its place."""
    with _drawing(7, 3) as (figure, axes):
        axes.scatter(xs, ys, s=9, color=FIRST, alpha=0.35, linewidths=0)
        for name, *place in names:
            axes.annotate(name, place, ha="center", size=9, weight="bold", color=SECOND)
        axes.set(xlabel=axes_said[0], ylabel=axes_said[1])
        return _svg(figure, f"{axes_said[1]} against {axes_said[0]}, {len(xs)} points")


def curves(steps: Sequence[float], lines: Mapping[str, Sequence[float]]) -> Markup:
    """Return up to two curves over the same steps, each with an axis of its own."""
    with _drawing(7, 2.6) as (figure, axes):
        for (name, values), colour, line in zip(lines.items(), (FIRST, SECOND), ("-", "--"), strict=False):
            side = axes if colour == FIRST else axes.twinx()
            side.plot(steps, values, color=colour, linestyle=line, label=name)
            side.set_ylabel(f"{name} ({'solid' if line == '-' else 'dashed'})")
        axes.set_xlabel("step")
        return _svg(figure, " and ".join(lines))
