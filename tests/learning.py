"""For tests whose outcome hangs on a training or on sampling: seeds that can be shifted, and margins that are written down.

Such a test is marked `learning`, takes its seeds through `shifted`, and states every bound that is not exact through `margins`,
a fixture. Its bounds must hold for every seed and on every processor: `tools/learning_margins.py` tries some of each and prints
how near each figure came to its bound; `benchmarks/results/learning_margins.json` keeps what was seen, trial by trial. `make
test-isa` runs these tests with the plainest instructions of the processor.
"""

import os
from collections.abc import Callable

SHIFT = "POP_SEED_SHIFT"
"""The environment variable that `shifted` adds to seeds."""


def shifted(seed: int) -> int:
    """Return `seed`, or the seed that stands for it in another trial."""
    return seed + int(os.environ.get(SHIFT, "0"))


class Margins:
    """Checks figures against their bounds and hands both to `record`, which pytest writes into its XML report."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def above(self, figure: str, value: float | None, bound: float) -> None:
        """Check that `value` lies above `bound`."""
        assert value is not None, f"{figure} is missing"
        self._record(figure, f"{value!r} > {bound!r}")
        assert value > bound, f"{figure} is {value}, not above {bound}"

    def below(self, figure: str, value: float | None, bound: float) -> None:
        """Check that `value` lies below `bound`."""
        assert value is not None, f"{figure} is missing"
        self._record(figure, f"{value!r} < {bound!r}")
        assert value < bound, f"{figure} is {value}, not below {bound}"
