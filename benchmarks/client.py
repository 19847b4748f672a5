"""What the HTTP client costs: requests per second and memory of one process on one core, with 1024 requests in flight.

    python benchmarks/client.py [--requests N] [--in-flight N] [--json FILE]

A responder that does nothing but wait 0.2 s and send the same chat completion runs on one core, the client on another one. Four
clients are compared: aiohttp, httpx2 and the openai package (where it is installed) as bare as they come, and `ours`: the
EndpointChatModel, with its queue, limits and retries. Limits for ours: 1000 requests/s, 300 MB.
"""

import argparse
import asyncio
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

CLIENTS = ("httpx2", "openai", "aiohttp", "ours")
LIMITS = {"requests_per_s": 1000.0, "peak_mb": 300.0}
DELAY_S = 0.2
PROMPT = "A problem, its rubric and one answer to be judged by it. " * 60
ANSWER = "Thoughts on one criterion, and then a rating. " * 30
BODY = {
    "model": "nobody",
    "messages": [{"role": "system", "content": "You judge."}, {"role": "user", "content": PROMPT}],
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 4096,
    "seed": 1,
    "stop": ["</evaluation>"],
}
REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "nobody",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 300, "total_tokens": 1200},
    }
).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY

Ask = Callable[[int], Awaitable[str]]


class Responder(asyncio.Protocol):
    """Reads requests by their content-length and answers each one after `DELAY_S`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        if len(body) >= length:
            self._received = body[length:]
            asyncio.get_running_loop().call_later(DELAY_S, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(RESPONSE)


async def respond() -> None:
    """Serve on a free port, which is printed, until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Responder, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


async def with_httpx2(base_url: str, work: Callable[[Ask], Awaitable[None]]) -> None:
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(limits=limits, timeout=60) as client:

        async def ask(n: int) -> str:
            response = await client.post(f"{base_url}/chat/completions", json={**BODY, "seed": n})
            return str(response.json()["choices"][0]["message"]["content"])

        await work(ask)


async def with_openai(base_url: str, work: Callable[[Ask], Awaitable[None]]) -> None:
    openai: Any = importlib.import_module("openai")
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as client:

        async def ask(n: int) -> str:
            reply = await client.chat.completions.create(**{**BODY, "seed": n})
            return str(reply.choices[0].message.content)

        await work(ask)


async def with_aiohttp(base_url: str, work: Callable[[Ask], Awaitable[None]]) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(n: int) -> str:
            async with session.post(f"{base_url}/chat/completions", json={**BODY, "seed": n}) as response:
                return str((await response.json())["choices"][0]["message"]["content"])

        await work(ask)


async def with_ours(base_url: str, work: Callable[[Ask], Awaitable[None]]) -> None:
    from pop_selfplay.config import EndpointModel
    from pop_selfplay.models import open_model
    from pop_selfplay.models.base import ChatRequest
    from pop_selfplay.records import Message, Role

    model = open_model(EndpointModel(base_url=base_url, model="nobody", max_in_flight=1024))
    messages = (Message(role="system", content="You judge."), Message(role="user", content=PROMPT))

    async def ask(n: int) -> str:
        request = ChatRequest(Role.JUDGE, messages, 0.0, 1.0, 4096, n, "</evaluation>", f"episode {n % 64}")
        return (await model.complete(request)).text

    try:
        await work(ask)
    finally:
        await model.close()


WITH = {"httpx2": with_httpx2, "openai": with_openai, "aiohttp": with_aiohttp, "ours": with_ours}


def measure(client: str, base_url: str, requests: int, in_flight: int) -> dict[str, float]:
    """Send `requests` from this process, `in_flight` at once, after a warm-up of as many connections."""
    figures: dict[str, float] = {}

    async def work(ask: Ask) -> None:
        async def many(count: int) -> None:
            numbers = iter(range(count))

            async def one() -> None:
                for n in numbers:
                    assert await ask(n) == ANSWER

            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(one())

        await many(in_flight)
        start, cpu = time.perf_counter(), time.process_time()
        await many(requests)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        figures["requests_per_s"] = round(requests / wall, 1)
        figures["requests_per_cpu_s"] = round(requests / cpu, 1)

    asyncio.run(WITH[client](base_url, work))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_mb"] = round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
    return figures


def in_process(*arguments: str, core: int) -> list[str]:
    """Return the command that runs this file again on one core, where cores can be chosen."""
    pin = ["taskset", "-c", str(core)] if sys.platform == "linux" else []
    return [*pin, sys.executable, __file__, *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--in-flight", type=int, default=1024)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--client", choices=CLIENTS, help="measure this one here and print its figures")
    parser.add_argument("--base-url", help="the responder, for --client")
    parser.add_argument("--respond", action="store_true", help="be the responder")
    arguments = parser.parse_args()
    if arguments.respond:
        asyncio.run(respond())
        return
    if arguments.client:
        sys.stdout.write(json.dumps(measure(arguments.client, arguments.base_url, arguments.requests, arguments.in_flight)))
        return
    result: dict[str, Any] = {"in_flight": arguments.in_flight, "requests": arguments.requests, "delay_s": DELAY_S}
    result |= {"python": platform.python_version(), "cpus": os.cpu_count(), "limits": LIMITS, "clients": {}}
    for client in CLIENTS:
        if client != "ours" and importlib.util.find_spec(client) is None:
            continue
        with subprocess.Popen(
            in_process("--respond", core=1), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as responder:
            assert responder.stdout is not None and responder.stdin is not None
            url = f"http://127.0.0.1:{responder.stdout.readline().strip()}/v1"
            sent = ["--client", client, "--base-url", url, "--requests", str(arguments.requests)]
            command = in_process(*sent, "--in-flight", str(arguments.in_flight), core=0)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            responder.stdin.close()
        figures = json.loads(done.stdout)
        version = "" if client == "ours" else importlib.metadata.version(client)
        result["clients"][client] = {**figures, **({"version": version} if version else {})}
        sys.stdout.write(f"{client:8} {version:8} {figures}\n")
    ours = result["clients"]["ours"]
    result["ours_within_limits"] = ours["requests_per_s"] >= LIMITS["requests_per_s"] and ours["peak_mb"] < LIMITS["peak_mb"]
    text = json.dumps(result, indent=1) + "\n"
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")
    sys.exit(0 if result["ours_within_limits"] else 1)


if __name__ == "__main__":
    main()
