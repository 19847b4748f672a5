"""How long one waits for a failure to heal. Which failures do is told by the table in errors.py.

| what happens | what we do |
| --- | --- |
| overload, broken, dropped connection, time-out, unreadable reply | try again until `patience_s` after the first failure |
| the same request fails so many times, or until patience ends | a small probe call: if it is answered, RequestBroken |
| … and the probe is not answered | try on; ModelUnavailable when patience ends |
"""

import random
import time
from typing import Final

from pop_selfplay.models.endpoint.errors import Kind, ServerError, is_absent
from pop_selfplay.models.limits import Clock

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_TRIES_BEFORE_PROBE: Final = 8


class Transient(Exception):
    """A failure that another try may heal.

    `retry_after_s` is how long the server asked us to wait; `throttled` that it said 429; `absent` that it is still loading, or
    a proxy says that nobody is behind it; `from_model` that it was reached and failed on this very call; `unreachable` that
    there was not even a connection.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        throttled: bool = False,
        absent: bool = False,
        from_model: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s, self.throttled, self.absent, self.from_model = retry_after_s, throttled, absent, from_model
        self.unreachable = unreachable

    @classmethod
    def of(cls, error: ServerError) -> "Transient":
        """Return the failure that a server's refusal of kind overload or broken is."""
        return cls(
            f"HTTP {error.status}: {error.words}",
            retry_after_s=error.retry_after_s,
            throttled=error.status == 429,
            absent=is_absent(error),
            from_model=error.kind is Kind.BROKEN,
        )


class Patience:
    """When to try one call again: jittered exponential back-off within `patience_s` of its first failure.

    The last wait is cut so that the last try comes as patience ends, whatever back-off or Retry-After say.
    """

    def __init__(self, patience_s: float, *, clock: Clock = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._since = float("inf")
        self.tries = 0

    @property
    def spent_s(self) -> float:
        return max(0.0, self._clock() - self._since)

    @property
    def ended(self) -> bool:
        return self.spent_s >= self._patience_s

    def failed(self) -> None:
        """Note that a try failed."""
        self.tries += 1
        self._since = min(self._since, self._clock())

    def doubts(self, error: Transient) -> bool:
        """Tell whether it is time to find out if the failures are this request's own, and not the server's."""
        if error.throttled or error.unreachable:
            return False
        return self.ended or (error.from_model and self.tries % _TRIES_BEFORE_PROBE == 0)

    def wait_s(self, error: Transient) -> float:
        """Return how long to wait for the next try."""
        back_off = random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self.tries, 10)))
        # Jitter comes on top of Retry-After: else all callers that were refused together come back together.
        return min(error.retry_after_s + back_off, max(0.0, self._patience_s - self.spent_s))
