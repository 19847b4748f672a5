"""Servers that cannot be reached, for reasons that waiting does not heal: said at once, with the cause."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.models.makers import make_request

from pop_selfplay.config import EndpointModel, SimulatedModel
from pop_selfplay.errors import ModelRefused, RequestBroken
from pop_selfplay.models import open_model
from pop_selfplay.models.base import Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app

PATIENCE_S = 600


async def ask(base_url: str, **settings: object) -> Completion:
    config = {"base_url": base_url, "model": "simulated", "patience_s": PATIENCE_S, **settings}
    model = open_model(EndpointModel.model_validate(config))
    try:
        return await model.complete(make_request())
    finally:
        await model.close()


def refused(base_url: str) -> str:
    """Return what is said of a server that can never be asked, which must not take any of the patience."""
    start = time.monotonic()
    with pytest.raises(ModelRefused) as caught:
        asyncio.run(ask(base_url))
    assert time.monotonic() - start < PATIENCE_S / 10
    return str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout k.pem -out c.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")

    async def run() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        try:
            with pytest.raises(ModelRefused, match=r"certificate is not trusted.*SSL_CERT_FILE"):
                await ask(f"https://127.0.0.1:{port}/v1")
        finally:
            await runner.cleanup()

    asyncio.run(run())


def test_https_on_a_port_that_speaks_http_is_named() -> None:
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as base_url:
        assert "no TLS" in refused(base_url.replace("http://", "https://"))


def test_a_host_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", unknown)
    said = refused("http://no-such-host.invalid:8000/v1")
    assert "cannot be resolved" in said and "no-such-host.invalid" in said


def test_a_reply_longer_than_the_limit_is_broken_and_names_the_setting() -> None:
    model = SimulatedChatModel(SimulatedModel(lengths="realistic"))
    with serving(simulated_app(model)) as base_url, pytest.raises(RequestBroken) as caught:
        asyncio.run(_long_one_among_short(base_url))
    assert "model.max_reply_mb" in str(caught.value)


async def _long_one_among_short(base_url: str) -> None:
    config = EndpointModel(base_url=base_url, model="simulated", patience_s=0, max_reply_mb=0.001)
    model = open_model(config)
    try:
        await model.complete(make_request(max_tokens=4))
        await model.complete(make_request())
    finally:
        await model.close()
