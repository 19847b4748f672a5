"""Where a server is and who may ask it: URLs and keys, checked before anything is sent."""

import os
from urllib.parse import urlsplit, urlunsplit

from pop_selfplay.errors import ModelRefused
from pop_selfplay.models.endpoint.http import Unusable, find_proxy


def url_of(base_url: str, path: str) -> str:
    """Return `base_url` with `path` behind its own path, and its query (`?api-version=…`) behind both.

    Raises ModelRefused for what is no address, or for one that only an unusable proxy leads to.
    """
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ModelRefused(f"model.base_url {base_url!r} is not a URL: {error}") from error
    if not usable or parts.fragment:
        raise ModelRefused(f"model.base_url {base_url!r} must look like http://localhost:8000/v1")
    url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))
    try:
        find_proxy(url)
    except Unusable as error:
        raise ModelRefused(f"{url} cannot be asked: {error}") from error
    return url


def host_of(base_url: str) -> str:
    """Return the host of an address, "" where it has none."""
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return ""


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, None where none is named. Raises ModelRefused for one that cannot be sent."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelRefused(f"the environment variable {variable} (model.api_key_env) is not set: export it with the key")
    if not key.isascii() or not key.isprintable():
        raise ModelRefused(
            f"the key in the environment variable {variable} (model.api_key_env) holds a line break or another character "
            "that no key has: export the key alone"
        )
    return key
