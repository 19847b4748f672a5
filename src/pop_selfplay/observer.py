"""Who watches a run: what a run tells while it works, and the observer that shows nothing. `report/live.py` draws it."""

import logging
from typing import Final, Protocol

from pop_selfplay.journal import Tally
from pop_selfplay.records import Step

_LOG: Final = logging.getLogger(__name__)


class Observer(Protocol):
    """Who watches a run. Every method returns at once and changes nothing."""

    def phase(self, name: str, episodes: int = 0, calls: int = 0) -> None:
        """A phase begins that plays `episodes` with about `calls` model calls, both 0 where that has no meaning."""

    def refresh(self, tally: Tally, money: float) -> None:
        """Called a few times a second while models work. `money` is what all calls so far cost, by the config's prices."""

    def training_step(self, step: Step) -> None:
        """A training step was logged."""

    def notice(self, text: str) -> None:
        """Something happened that whoever watches should read: a server is down, say, and the run waits for it."""


class Unwatched:
    """The observer that shows nothing; notices go to the log."""

    def phase(self, name: str, episodes: int = 0, calls: int = 0) -> None:
        pass

    def refresh(self, tally: Tally, money: float) -> None:
        pass

    def training_step(self, step: Step) -> None:
        pass

    def notice(self, text: str) -> None:
        _LOG.warning("%s", text)
