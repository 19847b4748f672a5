"""The servers behind one endpoint: replicas of each other. Who a call goes to, who is down, what is tried again.

A refusal ends what its kind says (errors.py); what heals is waited out with growing pauses, within the patience of the config.
"""

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelError, ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.models.endpoint.errors import Kind, ServerError, is_absent
from pop_selfplay.models.scheduler import Clock, Scheduler

_REMEMBERED: Final = 20_000
_QUIET_S: Final = 5.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Server:
    """One server: its address, its queue, and whether it is there."""

    def __init__(self, url: str, queue: Scheduler, *, clock: Clock = time.monotonic) -> None:
        self.url, self.queue = url, queue
        self.answered_at = self.failed_at = float("-inf")
        self.doubted = asyncio.Lock()
        """Held by the one call that finds out whether the server answers anybody."""
        self.down, self._down_since = False, float("-inf")
        self._clock = clock
        self._back = asyncio.Event()
        self._pause_s, self._try_at = _FIRST_PAUSE_S, 0.0

    def seems_up(self) -> bool:
        """Tell whether calls should go here. One that is down seems up to one caller now and then, who will find out."""
        if not self.down:
            return True
        if self._clock() < self._try_at:
            return False
        self._postpone()
        return True

    def answered(self, sent_at: float) -> bool:
        """Note an answer, and wake all who wait for one; tell whether the server was down until now.

        The answer to a call that was sent before it went down is a last one, and no sign that it is back.
        """
        self.answered_at = self._clock()
        if self.down and sent_at < self._down_since:
            return False
        was_down, self.down, self._pause_s = self.down, False, _FIRST_PAUSE_S
        self._back.set()
        return was_down

    def failed(self) -> None:
        """Note that the server does not even answer a small call."""
        self.failed_at = self._clock()

    def absent(self, *, unreachable: bool) -> bool:
        """Note that nobody answered; tell whether the server was thought to be up.

        One that let no connection through is down. A proxy's word that nobody is behind it (502, 503, 504) counts only when
        nothing was answered for some seconds: some servers say it when they are merely full.
        """
        if self.down or not (unreachable or self._clock() - self.answered_at > _QUIET_S):
            return False
        self.down, self._down_since = True, self._clock()
        self._back.clear()
        self._postpone()
        return True

    async def wait(self, seconds: float) -> None:
        """Sleep; if the server is down, no longer than until it is back."""
        if not self.down:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._back.wait()

    def _postpone(self) -> None:
        self._try_at = self._clock() + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)


class Servers:
    """All replicas, and which episode is at home on which."""

    def __init__(self, servers: Sequence[Server], remembered: int = _REMEMBERED) -> None:
        self._servers = tuple(servers)
        self._homes: OrderedDict[str, Server] = OrderedDict()
        self._remembered = remembered

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    @property
    def have_answered(self) -> bool:
        """Whether any of them has ever answered."""
        return any(server.answered_at > float("-inf") for server in self._servers)

    def choose(self, group: str) -> Server:
        """Return where a call of the episode `group` goes: home, or to the least load where it has none or home is down."""
        home = self._homes.get(group) if group else None
        if home is None or not (home.seems_up() or len(self._servers) == 1):
            up = [server for server in self._servers if server is not home and server.seems_up()]
            home = min(up or self._servers, key=lambda server: server.queue.load)
        if group:
            self._homes[group] = home
            self._homes.move_to_end(group)
            if len(self._homes) > self._remembered:
                self._homes.popitem(last=False)
        return home

    def others_up(self, than: Server) -> bool:
        """Tell whether a call that found `than` down may find another one up."""
        return any(server is not than and not server.down for server in self._servers)


class Refused(Exception):
    """The server understood and does not answer this request; another try would not help."""

    def __init__(self, url: str, error: ServerError) -> None:
        super().__init__(error.words)
        self.url, self.error = url, error


def as_error(refused: Refused, config: EndpointModel, *, has_answered: bool, needs: str) -> ModelError:
    """Return what `refused` means. `has_answered`: the server has answered anything before; `needs` as Parameters tells it."""
    error = refused.error
    said = f"{refused.url} answered HTTP {error.status}: {error.words}"
    match error.kind:
        case Kind.TOO_LONG:
            return RequestRefused(
                f"{said}; it is longer than the server accepts: lower synthesis.*.max_tokens or filter.max_words, or serve the "
                "model with a longer context"
            )
        case Kind.CONTENT:
            return RequestRefused(f"{said}; the server refuses the content of this request")
        case Kind.NO_MONEY:
            what = ModelUnavailable if has_answered or error.status == 429 else ModelRefused
            return what(f"{said}; add credit, then resume with `pop run DIR`")
        case Kind.PARAMETER if needs:
            return RequestRefused(f"{said}; {needs}", about_request=False)
        case Kind.PARAMETER | Kind.SYSTEM_ROLE | Kind.UNKNOWN:
            settings = "if this is about a parameter, see model.omit, model.rename and model.extra_body"
            return RequestRefused(f"{said}; {settings}", about_request=False)
    return ModelRefused(f"{said}; {_advice(refused.url, error, config)}")


def _advice(url: str, error: ServerError, config: EndpointModel) -> str:
    if error.kind is Kind.BAD_KEY:
        what = "check the permissions of the key" if error.status == 403 else "check the key"
        if config.api_key_env is None:
            return f"{what}: model.api_key_env names no environment variable with a key"
        return f"{what} in the environment variable {config.api_key_env}"
    if error.kind is Kind.WRONG_MODEL:
        v1 = "" if "/v1/" in url else ", which for most servers ends in /v1,"
        return f"check model.base_url{v1} and that the server has the model {config.model!r}"
    return "check model.base_url and model.model"


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
