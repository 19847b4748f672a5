"""Rounds to audit, each in an open run of its own."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evaluation.audit.makers import MakeRound

from pop_selfplay.config import parse_config
from pop_selfplay.evaluation.audit.sample import AuditedRound, Options, Scored
from pop_selfplay.runs.session import open_session


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[MakeRound]:
    """Return what opens a run for made-up episodes; all are closed at the end of the test."""
    base = {
        "domain": "health_care",
        "corpus": {"type": "files", "paths": ["texts"]},
        "model": {"type": "simulated"},
        "training": {"type": "none"},
        "pairing": {"max_word_difference": None},
    }
    numbers = count()
    with ExitStack() as opened:

        def make(made: Sequence[Scored], **config: Any) -> AuditedRound:
            path = tmp_path / f"run-{next(numbers)}"
            session = opened.enter_context(open_session(path, parse_config({**base, **config})))
            return AuditedRound(session, Options(), made[0].episode.round, tuple(made))

        yield make
