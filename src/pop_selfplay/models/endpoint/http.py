"""One POST over HTTP, and what can go wrong with it. On aiohttp, the fastest of those measured (benchmarks/client.py).

The seam for tests is `Send`: a function from URL, headers and body to a `Response`, which raises `Dropped`.
"""

import json
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

_CONNECT_TIMEOUT_S: Final = 30.0


class Response(NamedTuple):
    """A server's whole answer. `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def words(self) -> str:
        """The server's own words about an error: {"error": {"message": …}}, {"message": …} or {"detail": …}, else the body."""
        text = self.body.decode("utf-8", "replace")
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            inner = data.get("error", data)
            found = inner if isinstance(inner, str) else None
            if isinstance(inner, dict):
                found = next((inner[key] for key in ("message", "detail") if inner.get(key)), None)
            if found is not None:
                return str(found)[:500]
        return text[:500] or "(no body)"

    def retry_after_s(self) -> float:
        """Seconds asked for by Retry-After, which holds seconds or a date; 0 where it is missing or unreadable."""
        value = self.headers.get("retry-after", "")
        try:
            seconds = float(value)
            return seconds if 0 <= seconds < float("inf") else 0.0
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (TypeError, ValueError):
            return 0.0


class Dropped(Exception):
    """There was no whole answer. `unreachable`: not even a connection."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


Send = Callable[[str, Mapping[str, str], bytes], Awaitable[Response]]


class HttpClient:
    """Sends over as many connections as there are requests, and keeps them. Belongs to the event loop of its first call."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s))
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._proxies: dict[str, str | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send `body` as JSON. Raises Dropped when no whole answer came within the timeout, RuntimeError once closed."""
        if self._closed:  # a call that outlives its client must not open another one, which nobody would close
            raise RuntimeError("this client was closed: make a new model")
        session = self._session
        if session is None:
            # The scheduler bounds what is in flight, so the client does not; what a server sets in cookies is not kept.
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with session.post(url, data=body, headers=headers, proxy=self._proxy(url), allow_redirects=False) as response:
                return Response(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise Dropped(f"cannot connect: {error.os_error}", unreachable=True) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise Dropped(f"no connection within {self._timeout.sock_connect:g} s", unreachable=True) from error
        except TimeoutError as error:
            raise Dropped(f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Dropped(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _proxy(self, url: str) -> str | None:
        """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), looked up once."""
        if url not in self._proxies:
            parts = urlsplit(url)
            bypassed = bool(urllib.request.proxy_bypass(parts.netloc))
            self._proxies[url] = None if bypassed else urllib.request.getproxies().get(parts.scheme)
        return self._proxies[url]
