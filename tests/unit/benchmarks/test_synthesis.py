"""The benchmark of synthesis: its bound is arithmetic, and its steady state is what lies between warm-up and drain."""

import pytest
from benchmarks.synthesis import Progress, Server
from benchmarks.synthesis_bound import bound, expected

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
    steadily = {"window_s": 10.0, "running_s": 2000.0, "decoding_s": 1900.0, "generated_tokens": 10 * 256 / 0.0456 * 0.8}
    steadily |= {"prompt_tokens": 0.0, "cached_tokens": 0.0}
    statistics = [{name: n * each + (500 if n > 80 else 0) for name, each in steadily.items()} for n in range(100)]
    progress.statistics = [(float(second), found) for second, found in enumerate(statistics)]
    figures = progress.between(20, 120, speedup=10.0)
    wanted = {"mean_running": 200.0, "mean_decoding": 190.0, "share_of_bound": 0.8}
    wanted |= {"seconds_per_example": 5.0, "seconds_per_finished_example": 5.0}
    assert figures == pytest.approx(wanted)
