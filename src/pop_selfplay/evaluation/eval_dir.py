"""The directory of an evaluation or a duel: a lock, a journal of every finished call, the logs and the figures.

calls.db    the journal: the same tables as a run's, so a killed evaluation repeats no finished call
logs/       logs of inspect_ai, one for each benchmark and model (`inspect view --log-dir …`)
eval.json, duel.json   the figures
items.jsonl the duel, prompt by prompt
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pop_selfplay.journal import Journal
from pop_selfplay.journal.files import explain, take_lock

JOURNAL_NAME: Final = "calls.db"
SECONDS_BETWEEN_LINES: Final = 15.0


@dataclass(frozen=True)
class Workplace:
    """An open directory. Make one with `open_workplace`."""

    path: Path
    journal: Journal

    @property
    def logs(self) -> Path:
        return self.path / "logs"


@contextlib.contextmanager
def open_workplace(path: Path) -> Iterator[Workplace]:
    """Open the directory at `path`, made where it is missing, and hold its lock.

    Raises JournalError when another process works there, or the place cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path, "make the directory") from error
    with take_lock(path / "evaluation.lock"), Journal.open(path / JOURNAL_NAME) as journal:
        yield Workplace(path, journal)


@contextlib.asynccontextmanager
async def reporting(say: Callable[[], None], seconds: float = SECONDS_BETWEEN_LINES) -> AsyncIterator[None]:
    """Call `say` every so often while the block runs: whoever waits for hours must see that something happens."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(seconds)
            say()

    ticker = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticker.cancel()
