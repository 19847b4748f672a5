"""One POST over HTTP, and what can go wrong with it. On aiohttp, the fastest of those measured (benchmarks/client.py).

The seam for tests is `Send`: a function from URL, headers and body to a `Response`, which raises `Dropped` or `Unusable`.
"""

import socket
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

_CONNECT_TIMEOUT_S: Final = 30.0


class Response(NamedTuple):
    """A server's whole answer. `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

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
    """There was no whole answer. `unreachable`: not even a connection; `broken`: an answer that nobody can take."""

    def __init__(self, message: str, *, unreachable: bool = False, broken: bool = False) -> None:
        super().__init__(message)
        self.unreachable, self.broken = unreachable, broken


class Unusable(Exception):
    """No connection, for a reason that waiting does not heal: a certificate, a name that does not exist, a proxy's address."""


Send = Callable[[str, Mapping[str, str], bytes], Awaitable[Response]]


class Proxy(NamedTuple):
    """A proxy that the environment names, and the variable that does."""

    url: str
    variable: str


class HttpClient:
    """Sends over as many connections as there are requests, and keeps them. Belongs to the event loop of its first call."""

    def __init__(self, timeout_s: float, most_bytes: int) -> None:
        """`most_bytes` is the longest body that is read."""
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s))
        self._timeout_s, self._most_bytes = timeout_s, most_bytes
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._proxies: dict[str, Proxy | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send `body` as JSON. Raises Dropped when no whole answer came in time, Unusable, and RuntimeError once closed."""
        return await self.request("POST", url, headers, body)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | aiohttp.FormData | None
    ) -> Response:
        """Send `body` by `method`. Raises what `post` raises."""
        if self._closed:  # a call that outlives its client must not open another one, which nobody would close
            raise RuntimeError("this client was closed: make a new model")
        if self._session is None:
            # The scheduler bounds what is in flight, so the client does not; what a server sets in cookies is not kept.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        proxy = self._proxy(url)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, proxy=proxy and proxy.url, allow_redirects=False
            ) as response:
                return Response(response.status, response.headers, await self._read(response))
        except (aiohttp.ClientError, OSError) as error:
            raise self._explained(error, proxy) from error

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = list[bytes](), 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._most_bytes:
                raise Dropped(
                    f"the reply is longer than {self._most_bytes / 1e6:g} MB: raise model.max_reply_mb if that is right",
                    broken=True,
                )
            parts.append(part)
        return b"".join(parts)

    def _explained(self, error: aiohttp.ClientError | OSError, proxy: Proxy | None) -> Dropped | Unusable:
        """Return what `error` means, with the proxy named where there is one."""
        by = f" through the proxy {_without_password(proxy.url)} ({proxy.variable})" if proxy else ""
        # Before all others: some releases of aiohttp give these no os_error.
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            why = str(error.certificate_error)
            return Unusable(f"its certificate is not trusted{by} ({why}): name its authority's file in SSL_CERT_FILE")
        if isinstance(error, aiohttp.ClientSSLError):
            return Unusable(f"no TLS with it{by} ({error}): if it speaks plain HTTP, its address begins with http://")
        if isinstance(error, aiohttp.ClientConnectorError):
            if isinstance(error.os_error, socket.gaierror):
                return Unusable(f"its name cannot be resolved{by} ({error.os_error}): check the address")
            return Dropped(f"cannot connect{by}: {error.os_error}", unreachable=True)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Unusable(f"the proxy refuses{by}: HTTP {error.status} {error.message}")
        if isinstance(error, aiohttp.InvalidURL):
            return Unusable(f"{error} is no URL{by}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Dropped(f"no connection{by} within {self._timeout.sock_connect:g} s", unreachable=True)
        if isinstance(error, TimeoutError):
            return Dropped(f"no answer{by} within {self._timeout_s:g} s")
        return Dropped(f"{type(error).__name__}{by}: {error}")

    def _proxy(self, url: str) -> Proxy | None:
        """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), looked up once."""
        if url not in self._proxies:
            self._proxies[url] = find_proxy(url)
        return self._proxies[url]


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy that the environment names for `url`. Raises Unusable where it is no address of a proxy."""
    parts = urlsplit(url)
    named = None if urllib.request.proxy_bypass(parts.netloc) else urllib.request.getproxies().get(parts.scheme)
    if not named:
        return None
    variable = f"{parts.scheme}_proxy"
    try:
        found = urlsplit(named)
        usable = found.scheme in ("http", "https") and bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise Unusable(
            f"the environment variable {variable} (or {variable.upper()}) is {_without_password(named)!r}, which is no proxy "
            "that can be used: make it http://host:port (SOCKS is not supported), or name the server's host in NO_PROXY"
        )
    return Proxy(named, variable)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
