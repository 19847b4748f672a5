"""Tests talk to nobody but this machine: any other address is an error, not a slow test."""

import functools
import gc
import logging
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pop_selfplay.report.charts import drawable
from tests.forked import Forking, forking
from tests.learning import Margins

# A busy machine is no bug, and a test that passed passes again; `pytest --hypothesis-profile explore` looks for new cases.
settings.register_profile("pop", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("pop")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_connect = socket.socket.connect


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hide what collection imports from the garbage collector: it stays, and a look through it takes longer than many tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that have slow tests: at the end they would keep one process busy, and the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep all modules that fork in one process: what they fork takes as long to import as hundreds of tests."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Spreading(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return "forked" if _forks(config.rootpath / module) else module

    return Spreading(config, log)


@functools.cache
def _forks(module: Path) -> bool:
    return "forked: Forking" in module.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine, and keep the Hugging Face libraries offline."""

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise RuntimeError(f"a test tried to reach {address!r}")
        _connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def no_pictures() -> Iterator[None]:
    """Draw no pictures in reports but where they are what is tested: drawing takes longer than most runs here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pop_selfplay.report.charts.drawable", lambda: False)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by a test whose reports are to have their pictures."""
    monkeypatch.setattr("pop_selfplay.report.charts.drawable", drawable)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages of all that is logged, warnings and worse. (pytest's own `caplog` is off: pyproject.toml says why.)"""
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def margins(record_property: Callable[[str, object], None]) -> Margins:
    """Bounds that a learning test keeps, written down."""
    return Margins(record_property)


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    """Starts processes that have imported torch and TRL already."""
    with forking(tmp_path_factory.mktemp("forked")) as processes:
        yield processes
