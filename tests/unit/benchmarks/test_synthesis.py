"""The benchmark of synthesis: its bound is arithmetic, and its steady state is what lies between warm-up and drain."""

import pytest
from benchmarks.synthesis import Progress, Server, bound, expected

from pop_selfplay.models.simulated.timing import Machine

NOWHERE = Server("http://127.0.0.1:9/v1", "nobody")


def test_the_bound_is_what_tokens_take_on_a_machine_that_never_waits() -> None:
    machine = Machine(step_base_s=0.02, step_per_sequence_s=0.0001, slots=256, prefill_tokens_per_s=15000)
    assert bound({"generated": 256 / 0.0456, "prompt": 0, "cached": 0}, machine) == pytest.approx(1.0)
    assert bound({"generated": 0, "prompt": 20_000, "cached": 5_000}, machine) == pytest.approx(1.0)


def test_the_lengths_alone_give_the_bound_of_the_reference() -> None:
    assert bound(expected()) == pytest.approx(5.37, rel=0.01)


def test_the_steady_state_is_measured_between_two_counts_of_finished_examples() -> None:
    progress = Progress(NOWHERE)
    progress.end()
    progress.finished = [(float(second), 2 * second) for second in range(100)]
    statistics = [
        {"window_s": 10.0 * second, "running_s": 200.0 * 10 * second + (500 if second > 80 else 0)} for second in range(100)
    ]
    progress.statistics = [(float(second), found) for second, found in enumerate(statistics)]
    figures = progress.between(20, 120, speedup=10.0)
    assert figures == {"seconds_per_example": pytest.approx(5.0), "mean_running": pytest.approx(200.0)}
