"""A stand-in for S3: what fsspec's client asks of an object store, over HTTP, kept in memory, with trouble on purpose."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from pop_selfplay.models.simulated.server import serving

BUCKET: Final = "bucket"
_MODIFIED: Final = "2026-01-01T00:00:00.000Z"
_HEADERS: Final = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}

Trouble = Literal["", "busy", "gone", "denied"]


class ObjectStore:
    """The objects of one bucket by key. While there is `trouble`, every request meets it and is counted in `refused`.

    "busy" answers 500, "denied" 403, and "gone" hangs up. With `troubled` above 0, so many requests meet it, and then none.
    Once so many objects as `breaks_at` are there, it is busy.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.trouble: Trouble = ""
        self.troubled = 0
        self.breaks_at = 0
        self.refused = 0
        self._lock = threading.Lock()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{bucket}", self._bucket)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._object)
        return app

    async def _bucket(self, request: web.Request) -> web.Response:
        if meeting := self._meeting(request):
            return meeting
        if request.match_info["bucket"] != BUCKET:
            return _error(404, "NoSuchBucket")
        if "list-type" not in request.query:
            return web.Response()
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        found: dict[str, str] = {}
        with self._lock:
            objects = dict(self.objects)
        for key in sorted(key for key in objects if key.startswith(prefix)):
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                folder = escape(prefix + head + cut)
                found[folder] = f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
            else:
                found[key] = (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{_MODIFIED}</LastModified>"
                    f"<ETag>{_etag(objects[key])}</ETag><Size>{len(objects[key])}</Size></Contents>"
                )
        listed = "".join(found.values())
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>{listed}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    async def _object(self, request: web.Request) -> web.Response:
        if not request.match_info["key"]:
            return await self._bucket(request)
        if meeting := self._meeting(request):
            return meeting
        if request.match_info["bucket"] != BUCKET:
            return _error(404, "NoSuchBucket")
        key, data = request.match_info["key"], await request.read()
        with self._lock:
            if request.method == "PUT":
                self.objects[key] = data
                if len(self.objects) == self.breaks_at:
                    self.trouble, self.breaks_at = "busy", 0
            if (kept := self.objects.get(key)) is None:
                return _error(404, "NoSuchKey")
        headers = {"ETag": _etag(kept), **_HEADERS}
        return web.Response(headers=headers) if request.method == "PUT" else web.Response(body=kept, headers=headers)

    def _meeting(self, request: web.Request) -> web.Response | None:
        if not self.trouble:
            return None
        self.refused += 1
        trouble = self.trouble
        if self.troubled:
            self.troubled -= 1
            self.trouble = trouble if self.troubled else ""
        if trouble == "gone" and request.transport is not None:
            request.transport.abort()
        return _error(403, "AccessDenied") if trouble == "denied" else _error(500, "InternalError")


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(status: int, code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>this is {code}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Serve a store, and let s3:// mean it, also in processes that are started."""
    s3fs = pytest.importorskip("s3fs", reason="needs fsspec's client for S3: pip install s3fs")
    store = ObjectStore()
    with serving(store.app()) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url.removesuffix("/v1"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore would wait for seconds between its own
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        s3fs.S3FileSystem.clear_instance_cache()
        yield store
        s3fs.S3FileSystem.clear_instance_cache()
