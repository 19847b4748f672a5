"""One `vllm serve` process of our own: its command, its log, how it is started, waited for and stopped.

Servers of one run that share a GPU take turns, because each one takes nearly all its memory.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from pop_selfplay.config import VllmModel
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.models.chat_template import DEFAULT_TEMPLATE
from pop_selfplay.models.model_files import expanded
from pop_selfplay.models.vllm_server import watchdog


@dataclass(eq=False)
class GPUClaim:
    """What one server claims: the GPUs it uses (None: all), how to stop it, and how many calls it has now."""

    gpus: frozenset[int] | None
    stop: Callable[[], Awaitable[None]]
    calls: int = 0

    def shares_with(self, other: "GPUClaim") -> bool:
        return self.gpus is None or other.gpus is None or bool(self.gpus & other.gpus)


class GPUSharing:
    """All claims in one event loop."""

    def __init__(self) -> None:
        self._holders: list[GPUClaim] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def held(self, claim: GPUClaim) -> AsyncIterator[None]:
        """Hold `claim` for one call: wait while others use its GPUs, and stop those that only occupy them."""
        async with self._changed:
            await self._changed.wait_for(lambda: not any(other.calls for other in self._rivals(claim)))
            for rival in self._rivals(claim):
                await rival.stop()
                self._holders.remove(rival)
            if claim not in self._holders:
                self._holders.append(claim)
            claim.calls += 1
        try:
            yield
        finally:
            claim.calls -= 1
            if not claim.calls:
                async with self._changed:
                    self._changed.notify_all()

    def _rivals(self, claim: GPUClaim) -> Sequence[GPUClaim]:
        return [other for other in self._holders if other is not claim and other.shares_with(claim)]


_SHARING: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, GPUSharing]] = weakref.WeakKeyDictionary()


def gpu_sharing_here() -> GPUSharing:
    """Return who shares GPUs in the running event loop."""
    return _SHARING.setdefault(asyncio.get_running_loop(), GPUSharing())


_LOOK_S: Final = 0.25
_STOP_S: Final = 25.0
_TAIL_LINES: Final = 15


class VllmProcess:
    """A server on a free port of this machine. Its log and its state are `<name>.log` and `<name>.json` in `folder`."""

    def __init__(self, config: VllmModel, name: str, folder: Path) -> None:
        """Nothing is started yet. Raises ModelRefused when there is no such executable."""
        if shutil.which(config.executable) is None:
            raise ModelRefused(
                f"model.executable {config.executable!r} cannot be found: install vLLM in its own environment, and "
                "give the path of its `vllm`, such as /opt/vllm/bin/vllm"
            )
        self._config, self._name = config, name
        self.log, self._state = folder / f"{name}.log", folder / f"{name}.json"
        self.port = _free_port()
        self._guard: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command line. Further arguments of the config come last, and so win over ours."""
        config = self._config
        return [
            *(config.executable, "serve", expanded(config.path), "--served-model-name", self._name),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            # Without this vLLM adds the model's own sampling defaults, top-k say, to every request.
            *("--enable-prefix-caching", "--generation-config", "vllm"),
            *("--tensor-parallel-size", str(config.tensor_parallel), "--data-parallel-size", str(config.data_parallel)),
            *(("--chat-template", str(DEFAULT_TEMPLATE)) if _lacks_chat_template(Path(expanded(config.path))) else ()),
            *config.args,
        ]

    async def start(self) -> None:
        """Start the server and wait until it is healthy.

        Raises ModelRefused, with the end of its log, when it dies meanwhile; ModelUnavailable when `startup_s` runs out.
        """
        await self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(end_leftover, self._state)
        environment = os.environ | self._config.env
        if self._config.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self._config.gpus))
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, watchdog.__file__, str(self._state), *self.command()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._config.startup_s
        async with aiohttp.ClientSession() as session:
            while not await self._healthy(session):
                if (code := self._guard.poll()) is not None:
                    raise ModelRefused(f"vLLM ended with code {code} before it was ready; {self.last_words()}")
                if time.monotonic() > deadline:
                    await self.stop()
                    raise ModelUnavailable(
                        f"vLLM was not ready within {self._config.startup_s:g} s (model.startup_s); {self.last_words()}"
                    )
                await asyncio.sleep(_LOOK_S)

    async def ended(self) -> int:
        """Wait until the server is gone and return its exit code; 128 and more where a signal ended it."""
        assert self._guard is not None  # it was started
        while self._guard.poll() is None:
            await asyncio.sleep(_LOOK_S)
        return int(self._guard.returncode)

    async def stop(self) -> None:
        """End the server and all that belongs to it. Idempotent."""
        if self._guard is not None:
            await asyncio.to_thread(_stop, self._guard)
            self._guard = None

    def last_words(self) -> str:
        """Say where the log is, and how it ends."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"its log {self.log} cannot be read: {error.strerror}"
        return "\n".join([f"its log {self.log} ends:", *(f"    {line[:300]}" for line in lines[-_TAIL_LINES:])])

    async def _healthy(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/health", timeout=aiohttp.ClientTimeout(total=5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def end_leftover(state: Path) -> None:
    """End the server that `state` speaks of, if it still runs and is the very one: same number, same start, same group."""
    try:
        told = json.loads(state.read_text(encoding="utf-8"))
        group, processes = int(told["group"]), [(int(pid), str(began)) for pid, began in told["processes"]]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        group, processes = 0, []  # cut short as it was written
    for pid, began in processes:
        with contextlib.suppress(ProcessLookupError):
            if began and watchdog.started_at(pid) == began and os.getpgid(pid) == group:
                os.killpg(group, signal.SIGTERM)
                _wait_for_group(group)
                break
    state.unlink(missing_ok=True)


def _wait_for_group(group: int) -> None:
    deadline = time.monotonic() + _STOP_S
    while watchdog.in_group(group) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _stop(guarding: "subprocess.Popen[bytes]") -> None:
    assert guarding.stdin is not None
    guarding.stdin.close()
    try:
        guarding.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(guarding.pid, signal.SIGKILL)
        guarding.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lacks_chat_template(path: Path) -> bool:
    """Tell whether a model directory surely has no chat template. Of a model on the hub nothing is known."""
    settings = path / "tokenizer_config.json"
    if not settings.is_file() or (path / "chat_template.jinja").exists() or (path / "chat_template.json").exists():
        return False
    try:
        return "chat_template" not in json.loads(settings.read_text(encoding="utf-8"))
    except ValueError:
        return False
