"""`pop simulate`: starts on a free port, serves what it was told to, ends on an interrupt with its figures."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from pop_selfplay.cli import app, run

BODY = {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 100}


@contextmanager
def simulate(*options: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and yield its process and base URL."""
    command = [sys.executable, "-m", "pop_selfplay", "simulate", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            address = re.match(r"serving (http://\S+/v1):", process.stdout.readline())
            assert address is not None
            yield process, address[1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_an_interrupt_and_leaves_its_figures(tmp_path: Path, number: signal.Signals) -> None:
    options = ("--model", "mine", "--speedup", "500", "--slots", "3", "--stats", tmp_path / "stats.json")
    with simulate(*options) as (process, base_url):
        reply = httpx2.post(f"{base_url}/chat/completions", json=BODY | {"model": "mine", "n": 4})
        assert len(reply.raise_for_status().json()["choices"]) == 4
        process.send_signal(number)
        said, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (0, "") and said.startswith("4 completions, ")
    figures = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert figures["completions"] == 4 and figures["machine"]["slots"] == 3 and figures["speedup"] == 500


def test_an_interrupt_in_the_middle_of_its_work_ends_it_as_well() -> None:
    with simulate("--speedup", "0.01") as (process, base_url):
        address = base_url.removeprefix("http://").removesuffix("/v1")
        body = json.dumps(BODY | {"model": "simulated"})
        request = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as waiting:
            waiting.sendall(request.encode())
            while httpx2.get(f"http://{address}/stats").json()["requests"] == 0:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            said, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (0, "") and said.startswith("0 completions, ")


def test_it_crashes_after_as_many_requests_as_it_was_told() -> None:
    with simulate("--crash-after", "2", "--speedup", "500", "--brief", "--error-rate", "1") as (process, base_url):
        for _ in range(2):
            assert httpx2.post(f"{base_url}/chat/completions", json=BODY).status_code == 500
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.post(f"{base_url}/chat/completions", json=BODY)
        assert process.wait(20) == 70


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [("x=0.1", "Input should be 'no_tags'"), ("no_tags=2", "less than"), ("no_tags", "give the mistake and its share")],
)
def test_a_mistake_it_cannot_make_is_refused_with_what_is_wrong(
    mistake: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--mistake", mistake]) == 2
    said = capsys.readouterr().err
    assert complaint in said and mistake.partition("=")[0] in said


def test_a_port_in_use_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with simulate() as (_, base_url):
        port = base_url.rpartition(":")[2].removesuffix("/v1")
        assert run(["simulate", "--port", port]) == 2
    assert "use another --port" in capsys.readouterr().err


def test_help_tells_all_faults() -> None:
    said = CliRunner().invoke(app, ["simulate", "--help"]).output
    for option in ("--malformed-rate", "--runaway-rate", "--error-rate", "--drop-rate", "--crash-after", "--retry-after"):
        assert option in said
