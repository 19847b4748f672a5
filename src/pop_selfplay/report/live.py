"""The live view: a panel that follows the journal's tally on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pop_selfplay.journal import Tally
from pop_selfplay.records import Step
from pop_selfplay.report.tables import duration_text, printable, reasons_text

SECONDS_BETWEEN_LINES: Final = 15.0
_LEAST_SHARE: Final = 0.02
_SLOW: Final = 10.0
"""Tokens a second, below which a server may be busy with reading."""


class LiveView:
    """An Observer that draws. Use it in a with statement; it redraws only when it is told something, and needs no thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._phase, self._episodes, self._calls = "", 0, 0
        self._before, self._money = Tally(), 0.0
        self._training = ""
        self._tally = Tally()
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> "LiveView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None, /) -> None:
        self._finish_phase(stopped=kind is not None)
        if self._live is not None:
            self._live.stop()

    def phase(self, name: str, episodes: int = 0, calls: int = 0) -> None:
        self._finish_phase()
        self._phase, self._episodes, self._calls, self._training = name, episodes, calls, ""
        self._before = self._tally
        self._began = self._last_line = time.monotonic()
        if self._live is None:
            self._console.print(Text(printable(f"{name} …")))
        self._draw()

    def refresh(self, tally: Tally, money: float) -> None:
        self._tally, self._money = tally, money
        self._draw()

    def training_step(self, step: Step) -> None:
        self._training = f"step {step.step}/{step.steps}, {step.told}"
        self._draw()

    def notice(self, text: str) -> None:
        """Write what stays, above the panel where there is one: a line, and below it what a log says, line by line."""
        self._console.print(Text("\n".join(map(printable, f"! {text}".splitlines()))), soft_wrap=True)

    def _finish_phase(self, *, stopped: bool = False) -> None:
        if self._phase:
            seconds = time.monotonic() - self._began
            mark, colour, how = ("✗", "red", " stopped after") if stopped else ("✓", "green", " ")
            ended = printable(f" {self._phase}{how} {seconds:.1f} s  {self._progress()}")
            self._console.print(Text.assemble((mark, colour), ended), soft_wrap=True)
        self._phase = ""

    def _draw(self) -> None:
        now = time.monotonic()
        if self._live is not None:
            if self._phase:
                self._live.update(Group(self._headline(), self._table()), refresh=True)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(Text("  ") + self._headline(), soft_wrap=True)

    def _headline(self) -> Text:
        return Text(printable(f"{self._phase}  {time.monotonic() - self._began:.0f} s  {self._progress()}"))

    def _progress(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        parts = [self._training] if self._training else []
        done = self._tally.episodes.total() - self._before.episodes.total()
        if self._episodes:
            parts.append(f"{done:,}/{self._episodes:,} episodes")
        tokens, before = self._tally.all_tokens(), self._before.all_tokens()
        read = tokens.prompt - tokens.cached - before.prompt + before.cached
        if written := (tokens.generated - before.generated) / seconds:
            parts.append(
                f"{written:,.0f} tokens/s" if written >= _SLOW else f"{written:.1f} tokens/s, {read / seconds:,.0f} read"
            )
        if self._money:
            parts.append(f"cost {self._money:,.2f}")
        if self._episodes and done < self._episodes:
            left = seconds_left(seconds, done / self._episodes, self._share_of_calls())
            parts.append("" if left is None else f"about {duration_text(left)} left")
        return ", ".join(part for part in parts if part)

    def _share_of_calls(self) -> float:
        made = self._tally.calls.total() - self._before.calls.total()
        return made / self._calls if self._calls else 0.0

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("role", "calls", "valid", "refused because"):
            table.add_column(column, justify="right" if column in ("calls", "valid") else "left")
        for role, reasons in self._tally.calls_by_role().items():
            valid = reasons["valid"] + reasons["repaired"]
            table.add_row(role, f"{reasons.total():,}", f"{valid / reasons.total():.1%}", reasons_text(dict(reasons)))
        return table


def seconds_left(seconds: float, episodes: float, calls: float) -> float | None:
    """Return how long a phase will still take after `seconds`, given its shares of finished episodes and of planned calls.

    Calls tell more while the first episodes are still being played; a plan that was too low never makes the phase look done.
    None while there is too little to go by: the first calls of a phase read long prompts before anything is written.
    """
    share = max(episodes, min(calls, 0.99))
    return None if share < _LEAST_SHARE else seconds * (1 - share) / share
