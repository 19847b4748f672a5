"""The first signal ends the work gently, more of them within moments change nothing, a later one ends the process at once."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pop_selfplay import tasks


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the test's own handlers back: pytest's, and none in the state."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    tasks.install("too late\n")
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    tasks._STATE.first = None


async def closing(closed: list[str], *signals: signal.Signals) -> str:
    """Get `signals` while working, and take a moment to close."""
    try:
        for number in signals:
            signal.raise_signal(number)
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0)
        closed.append("closed")
    return "done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_cancels_the_work_which_closes_and_then_is_an_interrupt(number: signal.Signals) -> None:
    closed: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        tasks.run_to_end(closing(closed, number))
    assert closed == ["closed"]


def test_five_signals_at_once_end_as_one_does() -> None:
    closed: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        tasks.run_to_end(closing(closed, *[signal.SIGINT, signal.SIGTERM] * 2, signal.SIGINT))
    assert closed == ["closed"]


def test_a_signal_while_no_loop_runs_is_an_interrupt_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)  # within moments: the same wish


def test_work_that_ends_by_itself_as_the_signal_comes_is_not_followed_by_more() -> None:
    async def ends() -> str:
        signal.raise_signal(signal.SIGINT)
        return "done"

    with pytest.raises(KeyboardInterrupt):
        tasks.run_to_end(ends())


def test_an_interrupt_that_a_library_keeps_to_itself_is_raised_without_our_handlers_too() -> None:
    async def swallows() -> str:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "what there was"
        return "slept"

    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a process that only imports the package
    with pytest.raises(KeyboardInterrupt):
        tasks.run_to_end(swallows())


def test_work_that_was_not_interrupted_returns_and_its_own_cancellation_stays_one() -> None:
    async def works() -> int:
        return 7

    async def cancels() -> None:
        raise asyncio.CancelledError

    assert tasks.run_to_end(works()) == 7
    with pytest.raises(asyncio.CancelledError):
        tasks.run_to_end(cancels())


def test_a_signal_long_after_the_first_ends_the_process_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Left(BaseException):
        pass

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2, raising=False)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    first = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: first + 60)
    with pytest.raises(Left, match="4"):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == "too late\n"


def test_signals_do_nothing_to_an_interrupted_process_that_only_has_to_exit() -> None:
    tasks.leave()
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN, "nothing had happened"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    tasks.leave()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def test_a_process_that_did_not_install_the_handlers_is_left_alone() -> None:
    code = (
        "import signal; before = signal.getsignal(signal.SIGINT); from pop_selfplay.tasks import run_to_end;"
        "import asyncio; run_to_end(asyncio.sleep(0)); assert signal.getsignal(signal.SIGINT) is before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
