"""Which failures of a call heal, how long one waits for that, and what is said of the others.

| what happens | what we do |
| --- | --- |
| 408, 425, 429, 5xx, dropped connection, time-out, unreadable reply | try again until `patience_s` after the first failure |
| … and patience ends | ModelUnavailable; RequestRefused if the server fails on this call alone |
| 400, 413, 422 | RequestRefused; ModelRefused if it is not about length or content and nothing was ever answered |
| 401, 403, 404 and the rest | ModelRefused |
"""

import random
import re
import time
from typing import Final

from pop_selfplay.errors import ModelError, ModelRefused, RequestRefused
from pop_selfplay.models.endpoint.http import Response
from pop_selfplay.models.limits import Clock

_HEALS: Final = frozenset({408, 425, 429})
_ABOUT_THE_REQUEST: Final = frozenset({400, 413, 422})
_LOADING_OR_GONE: Final = frozenset({502, 503, 504})
_LENGTH_OR_CONTENT: Final = re.compile(r"context|too (?:long|large|many)|length|maximum|max_tokens|content|policy|filter", re.I)
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0


class Transient(Exception):
    """A failure that another try may heal.

    `retry_after_s` is how long the server asked us to wait; `throttled` that it said 429; `absent` that it is still loading, or
    a proxy says that nobody is behind it; `from_model` that it was reached and failed on this very call.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        throttled: bool = False,
        absent: bool = False,
        from_model: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s, self.throttled, self.absent, self.from_model = retry_after_s, throttled, absent, from_model


class BadRequest(Exception):
    """The server understood and will not answer this request: `status` is 400, 413 or 422, and its words are the message."""

    def __init__(self, url: str, status: int, words: str) -> None:
        super().__init__(words)
        self.url, self.status = url, status

    def as_error(self, *, has_answered: bool) -> ModelError:
        """Return what this means for the run. `has_answered`: the server has answered anything before."""
        if has_answered or _LENGTH_OR_CONTENT.search(str(self)):
            return RequestRefused(f"{self.url} refused this request with HTTP {self.status}: {self}")
        return ModelRefused(f"{self.url} answered HTTP {self.status}: {self}; check model.base_url and model.model")


def failure(url: str, response: Response, model: str, key_variable: str | None) -> Transient | BadRequest | ModelRefused:
    """Return what a response that is not 200 means."""
    status, words = response.status, response.words()
    if status in _HEALS or status >= 500:
        return Transient(
            f"HTTP {status}: {words}",
            retry_after_s=response.retry_after_s(),
            throttled=status == 429,
            absent=status in _LOADING_OR_GONE,
            from_model=status == 500,
        )
    if status in _ABOUT_THE_REQUEST:
        return BadRequest(url, status, words)
    v1 = "" if "/v1/" in url else ", which for most servers ends in /v1,"
    advice = {
        401: f"check the key in the environment variable {key_variable}",
        403: f"check what the key in {key_variable} may do",
        404: f"check model.base_url{v1} and that the server knows the model {model!r}",
    }.get(status, "check model.base_url and model.model")
    return ModelRefused(f"{url} answered HTTP {status}: {words}; {advice}")


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

    def failed(self) -> bool:
        """Note that a try failed; tell whether patience has ended."""
        self.tries += 1
        self._since = min(self._since, self._clock())
        return self.spent_s >= self._patience_s

    def wait_s(self, error: Transient) -> float:
        """Return how long to wait for the next try."""
        back_off = random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self.tries, 10)))
        # Jitter comes on top of Retry-After: else all callers that were refused together come back together.
        return min(error.retry_after_s + back_off, max(0.0, self._patience_s - self.spent_s))
