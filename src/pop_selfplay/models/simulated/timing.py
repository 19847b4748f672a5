"""When a server that batches continuously would be done: pure, event driven, in simulated seconds.

Beside it what such a server remembers of the prompts it has read: blocks of tokens, each known together with all before it.
"""

import heapq
import itertools
import math
from collections import OrderedDict, abc, deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

BLOCK_TOKENS: Final = 16
CHARACTERS_PER_TOKEN: Final = 4
_BLOCK_CHARACTERS: Final = BLOCK_TOKENS * CHARACTERS_PER_TOKEN


def blocks_of(text: str) -> tuple[int, ...]:
    """Return one number for each full block of `text`: equal for two texts just as far as they begin alike."""
    blocks, before = [], 0
    for start in range(0, len(text) - _BLOCK_CHARACTERS + 1, _BLOCK_CHARACTERS):
        before = hash((before, text[start : start + _BLOCK_CHARACTERS]))
        blocks.append(before)
    return tuple(blocks)


class PrefixCache:
    """The blocks used last, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def reuse(self, blocks: abc.Sequence[int]) -> int:
        """Return how many of the first `blocks` were held, up to the first that was not. From now on all of them are."""
        held, unbroken = 0, True
        for block in blocks:
            unbroken = unbroken and block in self._blocks
            held += unbroken
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return held

    def clear(self) -> None:
        self._blocks.clear()


_LEAST_CHUNK_TOKENS: Final = 64
_ALMOST: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Machine:
    """How fast a server is. The defaults are near a 7B model in bf16 on one A100: 50 tokens/s alone, 5600 with 256 at once."""

    step_base_s: float = 0.020
    step_per_sequence_s: float = 0.0001
    slots: int = 256
    prefill_tokens_per_s: float = 15_000.0
    chunk_tokens: int = 2048
    """Tokens of one step: one for each decoding sequence, the rest for the prompt that is being read."""
    cached_blocks: int = 30_000


class Sequence:
    """One completion to be: what it has to read and to write. Times are simulated seconds, set when they come to pass."""

    __slots__ = ("arrived_s", "blocks", "cached_tokens", "finished_s", "first_token_s", "prompt_tokens", "tokens")

    def __init__(self, blocks: tuple[int, ...], prompt_tokens: int, tokens: int) -> None:
        """`blocks` of the prompt as `blocks_of` makes them; at least one of its tokens is always read. `tokens` ≥ 1."""
        self.blocks, self.prompt_tokens, self.tokens = blocks, prompt_tokens, max(1, tokens)
        self.cached_tokens = 0
        self.arrived_s = self.first_token_s = self.finished_s = math.nan


@dataclass(slots=True)
class Load:
    """Integrals over time since the first arrival, in simulated seconds: divide by `window_s` for means."""

    window_s: float = 0.0
    busy_s: float = 0.0
    full_s: float = 0.0
    running_s: float = 0.0
    decoding_s: float = 0.0
    waiting_s: float = 0.0

    def add(self, seconds: float, *, running: int, decoding: int, waiting: int, slots: int) -> None:
        self.window_s += seconds
        self.busy_s += seconds * (running > 0)
        self.full_s += seconds * (running >= slots)
        self.running_s += seconds * running
        self.decoding_s += seconds * decoding
        self.waiting_s += seconds * waiting


class _Step(NamedTuple):
    seconds: float
    prompt_tokens: int


class _Reading:
    """A prompt being read, and how many of its tokens are left."""

    __slots__ = ("left", "sequence")

    def __init__(self, sequence: Sequence) -> None:
        self.sequence, self.left = sequence, float(sequence.prompt_tokens - sequence.cached_tokens)


class Batch:
    """The machine at work. Call `advance` with the present time before `submit` and `cancel`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now_s = 0.0
        self.cache = PrefixCache(machine.cached_blocks)
        self._steps = 0.0
        self._serial = itertools.count()
        self._decoding: list[tuple[float, int, Sequence]] = []  # a heap; first the step after which the sequence is done
        self._reading: deque[_Reading] = deque()
        self._waiting: deque[Sequence] = deque()
        self._load: Load | None = None
        self._load_then = Load()

    @property
    def running(self) -> int:
        return len(self._decoding) + len(self._reading)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def load(self) -> Load:
        """What was carried from the first arrival to the last completion; the idle time after that does not count."""
        return replace(self._load_then)

    def forget(self) -> None:
        """Start counting anew, with an empty prefix cache. What is at work goes on."""
        self._load, self._load_then = (Load() if self.running else None), Load()
        self.cache.clear()

    def submit(self, sequence: Sequence) -> None:
        """Put `sequence` in line; it begins at once where a slot is free."""
        self._load = self._load or Load()
        sequence.arrived_s = self.now_s
        self._waiting.append(sequence)
        self._admit()

    def cancel(self, sequence: Sequence) -> None:
        """Take `sequence` out, wherever it is; of no effect on one that is done."""
        self._decoding = [entry for entry in self._decoding if entry[2] is not sequence]
        heapq.heapify(self._decoding)
        self._reading = deque(reading for reading in self._reading if reading.sequence is not sequence)
        self._waiting = deque(other for other in self._waiting if other is not sequence)
        self._admit()

    def next_event_s(self) -> float | None:
        """Return when the next prompt is read or the next sequence done if nobody comes, None where nothing is at work."""
        if not self.running:
            return None
        step = self._step()
        return self.now_s + self._steps_ahead(step) * step.seconds

    def advance(self, to_s: float) -> list[Sequence]:
        """Work until `to_s`, and return the sequences that were done by then, in the order in which they were."""
        done: list[Sequence] = []
        while self.running:
            step = self._step()
            steps = self._steps_ahead(step)
            if self.now_s + steps * step.seconds > to_s:
                self._pass((to_s - self.now_s) / step.seconds, step)
                return done
            self._pass(steps, step)
            self._end_reading()
            done += self._end_decoding()
            self._admit()
        if to_s > self.now_s:
            self._tally(to_s - self.now_s)
            self.now_s = to_s
        return done

    def _step(self) -> _Step:
        decoding, machine = len(self._decoding), self.machine
        seconds = machine.step_base_s + decoding * machine.step_per_sequence_s
        if not self._reading:
            return _Step(seconds, 0)
        chunk = max(_LEAST_CHUNK_TOKENS, machine.chunk_tokens - decoding)
        return _Step(seconds + chunk / machine.prefill_tokens_per_s, chunk)

    def _steps_ahead(self, step: _Step) -> float:
        """Return how many steps, in fractions, until the next event."""
        until_done = self._decoding[0][0] - self._steps if self._decoding else math.inf
        until_read = self._reading[0].left / step.prompt_tokens if self._reading else math.inf
        return max(0.0, min(until_done, until_read))

    def _pass(self, steps: float, step: _Step) -> None:
        if steps <= 0:
            return
        self._tally(steps * step.seconds)
        self.now_s += steps * step.seconds
        self._steps += steps
        if self._reading:
            self._reading[0].left -= steps * step.prompt_tokens

    def _end_reading(self) -> None:
        if self._reading and self._reading[0].left <= _ALMOST * self._reading[0].sequence.prompt_tokens:
            sequence = self._reading.popleft().sequence
            sequence.first_token_s = self.now_s
            heapq.heappush(self._decoding, (self._steps + sequence.tokens, next(self._serial), sequence))

    def _end_decoding(self) -> list[Sequence]:
        done = []
        while self._decoding and self._decoding[0][0] <= self._steps + _ALMOST:
            sequence = heapq.heappop(self._decoding)[2]
            sequence.finished_s = self.now_s
            done.append(sequence)
        if done and self._load is not None:
            self._load_then = replace(self._load)
        return done

    def _admit(self) -> None:
        while self._waiting and self.running < self.machine.slots:
            sequence = self._waiting.popleft()
            cached = self.cache.reuse(sequence.blocks) * BLOCK_TOKENS
            sequence.cached_tokens = max(0, min(sequence.prompt_tokens - 1, cached))
            self._reading.append(_Reading(sequence))

    def _tally(self, seconds: float) -> None:
        if self._load is not None:
            running, decoding = self.running, len(self._decoding)
            self._load.add(seconds, running=running, decoding=decoding, waiting=self.waiting, slots=self.machine.slots)
