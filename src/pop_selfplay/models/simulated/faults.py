"""The HTTP faults that a simulated server can be made to show."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

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
