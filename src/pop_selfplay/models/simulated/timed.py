"""The simulated model, as late and as faulty as a real server would be, and the statistics of its work.

Simulated time is the clock's time, `speedup` times as fast. What a caller waits is decided by timing.py; a caller that is
cancelled frees its slot. Which requests fail, and how, is drawn by `FaultDraw`; server.py makes it so.
"""

import asyncio
import dataclasses
import hashlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, Final, Literal

from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.timing import Batch, Machine, Sequence, blocks_of
from pop_selfplay.records import Role

_COUNTED: Final = ("completions", "generated_tokens", "prompt_tokens", "cached_tokens")


class TimedChatModel:
    """Answers as `model` does, when `machine` would be done. Use from one event loop."""

    def __init__(self, model: SimulatedChatModel, machine: Machine | None = None, *, speedup: float = 1.0) -> None:
        self._model = model
        self._batch = Batch(machine or Machine())
        self._speedup = speedup
        self._began = time.monotonic()
        self._due: dict[Sequence, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._statistics = _Statistics()

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer `request` after as long as it takes beside all others at work."""
        completion = self._model.write(request)
        prompt = "".join(f"{message.role}\n{message.content}\n" for message in request.messages)
        sequence = Sequence(blocks_of(prompt), completion.prompt_tokens, completion.generated_tokens)
        self._advance()
        done = self._due[sequence] = asyncio.get_running_loop().create_future()
        self._batch.submit(sequence)
        self._wake_later()
        try:
            await done
        except asyncio.CancelledError:
            self._due.pop(sequence, None)
            self._advance()
            self._batch.cancel(sequence)
            self._wake_later()
            raise
        completion = dataclasses.replace(completion, cached_tokens=sequence.cached_tokens)
        self._statistics.add(request.role, completion, sequence, (self._now_s() - sequence.finished_s) / self._speedup)
        return completion

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def statistics(self) -> dict[str, Any]:
        """Return what the machine did since the start or `forget`. Seconds are simulated, unless their name says `real`."""
        self._advance()
        self._wake_later()
        load = self._batch.load
        window_s = max(load.window_s, 1e-9)
        done = self._statistics.by_role.values()
        return {
            "speedup": self._speedup,
            "machine": dataclasses.asdict(self._batch.machine),
            "now_s": self._batch.now_s,
            **dataclasses.asdict(load),
            "mean_running": load.running_s / window_s,
            "mean_decoding": load.decoding_s / window_s,
            "mean_waiting": load.waiting_s / window_s,
            "idle_share": 1 - load.busy_s / window_s if load.window_s else 0.0,
            "full_share": load.full_s / window_s,
            **{name: sum(counts[name] for counts in done) for name in _COUNTED},
            **self._statistics.report(),
        }

    def forget(self) -> None:
        """Begin to count anew, with an empty prefix cache; what is at work goes on."""
        self._advance()
        self._batch.forget()
        self._statistics = _Statistics()

    def _now_s(self) -> float:
        return (time.monotonic() - self._began) * self._speedup

    def _advance(self) -> None:
        for sequence in self._batch.advance(self._now_s()):
            future = self._due.pop(sequence, None)
            if future is not None and not future.done():
                future.set_result(None)

    def _wake_later(self) -> None:
        """Set the alarm for the next event."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_s = self._batch.next_event_s()
        if at_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, (at_s - self._now_s()) / self._speedup), self._wake)

    def _wake(self) -> None:
        self._advance()
        self._wake_later()


class _Statistics:
    """Counts by role, and how late this process was in handing over what was done: a server that cannot keep up shows there."""

    def __init__(self) -> None:
        self.by_role: dict[Role, Counter[str]] = {}
        self._latency_s: defaultdict[Role, float] = defaultdict(float)
        self._late_s = self._latest_s = 0.0
        self._began, self._cpu = time.monotonic(), time.process_time()

    def add(self, role: Role, completion: Completion, sequence: Sequence, late_real_s: float) -> None:
        counts = self.by_role.setdefault(role, Counter())
        counts["completions"] += 1
        counts["generated_tokens"] += completion.generated_tokens
        counts["prompt_tokens"] += completion.prompt_tokens
        counts["cached_tokens"] += completion.cached_tokens
        self._latency_s[role] += sequence.finished_s - sequence.arrived_s
        self._late_s += late_real_s
        self._latest_s = max(self._latest_s, late_real_s)

    def report(self) -> dict[str, object]:
        done = max(1, sum(counts["completions"] for counts in self.by_role.values()))
        real_s = max(time.monotonic() - self._began, 1e-9)
        return {
            "by_role": {
                role.value: {**counts, "mean_latency_s": self._latency_s[role] / counts["completions"]}
                for role, counts in sorted(self.by_role.items())
            },
            "real_s": real_s,
            "server_cpu_share": (time.process_time() - self._cpu) / real_s,
            "delivery_lag_real_ms": {"mean": 1000 * self._late_s / done, "max": 1000 * self._latest_s},
        }


Fault = Literal["error", "rate_limit", "drop_before", "drop_after"]


@dataclass(frozen=True, slots=True)
class HttpFaults:
    """Shares of requests that fail. Which ones follows from the seed, the body and how often that body came before."""

    seed: int = 0
    error_rate: float = 0.0
    """HTTP 500."""
    rate_limit_rate: float = 0.0
    """HTTP 429, with `retry_after_s` as its Retry-After header."""
    retry_after_s: int = 1
    drop_rate: float = 0.0
    """The connection ends in the middle of the reply, one half of them before the work is done and one half after."""
    crash_after: int | None = None
    """The whole process ends, at once, at the request after this many."""


class FaultDraw:
    """Decides for one request after the other."""

    def __init__(self, faults: HttpFaults) -> None:
        self._faults = faults
        self._seen: Counter[bytes] = Counter()
        self._any = bool(faults.error_rate or faults.rate_limit_rate or faults.drop_rate)

    def fault(self, body: bytes) -> Fault | None:
        """Return what is to go wrong with the request that has this body, None where nothing is."""
        if not self._any:
            return None
        digest = hashlib.blake2b(body, digest_size=16).digest()
        self._seen[digest] += 1
        drawn = hashlib.blake2b(f"{self._faults.seed} {self._seen[digest]} ".encode() + digest, digest_size=8).digest()
        at = int.from_bytes(drawn, "big") / 2**64
        if at < self._faults.error_rate:
            return "error"
        at -= self._faults.error_rate
        if at < self._faults.rate_limit_rate:
            return "rate_limit"
        at -= self._faults.rate_limit_rate
        if at < self._faults.drop_rate:
            return "drop_before" if at < self._faults.drop_rate / 2 else "drop_after"
        return None
