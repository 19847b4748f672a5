"""A run directory, opened: what every phase of a run needs.

`open_session` is for the one process that works on a run (it makes, resumes and forks one), `watch_session` for whoever
looks at it, `read_session` for whoever wants what is left of it. Who plays which role is in casting.py, what was spent in
accounting.py.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from pop_selfplay.config import RunConfig
from pop_selfplay.domains import Domain, check_domain, load_domain
from pop_selfplay.errors import JournalDamaged, UsageError
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.journal.salvage import finish_fork, fork, salvage
from pop_selfplay.models.identity import weights_of
from pop_selfplay.models.model_files import refuse_adapter
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.runs.accounting import Account
from pop_selfplay.runs.casting import Casting

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """One process's work on one run directory. Made by the functions of this module alone."""

    directory: RunDirectory
    journal: Journal
    domain: Domain
    observer: Observer = field(default_factory=Unwatched)

    @property
    def config(self) -> RunConfig:
        return self.directory.config

    @cached_property
    def casting(self) -> Casting:
        """Role → model: who plays, and how they are opened."""
        return Casting(self.directory, self.journal, self.domain, self.observer)

    @property
    def account(self) -> Account:
        """What the run has spent."""
        return self.casting.account


@contextlib.contextmanager
def open_session(
    path: Path,
    config: RunConfig | None = None,
    observer: Observer | None = None,
    *,
    fork_from: Path | None = None,
    domain: Domain | None = None,
) -> Iterator[Session]:
    """Open the run directory at `path`, made for `config` when it is new, and hold its lock for the time of the session.

    A run keeps the prompts that it began with: those of `domain`, by default the one that `config` names. With `fork_from`,
    another run directory, a new run inherits its calls. Raises ConfigError when the domain lacks a prompt that the run will
    need, or has changed since the run began; UsageError when the directory is no fork of `fork_from`.
    """
    domain = domain or (None if config is None else load_domain(config.domain))
    if config is not None and domain is not None:
        check_domain(config, domain)
        _check_start(config)
    source = None if fork_from is None else RunDirectory.open(fork_from).journal_path
    if fork_from is not None and path.resolve() == fork_from.resolve():
        raise UsageError(f"a fork of {fork_from} needs its own run directory: name a new one with --out")
    directory = RunDirectory.open(path) if config is None else RunDirectory.create(path, config)
    with directory, directory.journal() as journal:
        session = Session(directory, journal, directory.keep_domain(domain), observer or Unwatched())
        directory.note_config(journal)
        if source is not None:
            fork(journal, source)
        finish_fork(journal)
        session.casting.refresh()
        yield session


@contextlib.contextmanager
def watch_session(path: Path) -> Iterator[Session]:
    """Open the run directory at `path` to read only: on a read-only disk, or while another process may be writing."""
    directory = RunDirectory.open(path)
    with Journal.open_to_read(directory.journal_path) as journal:
        directory.refuse_edited(journal)
        yield Session(directory, journal, directory.domain())


@contextlib.contextmanager
def watch_again(session: Session) -> Iterator[Session]:
    """Look at the run of `session` once more, through a connection of its own: for another thread, and in a millisecond."""
    with Journal.open_to_read(session.directory.journal_path) as journal:
        yield Session(session.directory, journal, session.domain)


def read_session(path: Path, work: Callable[[Session], T]) -> T:
    """Do `work`, which only reads, on the run at `path`; where its journal is damaged, on what can still be read of it.

    What is damaged is found only by reading, so `work` may begin twice. The part that is whole goes into a temporary directory,
    which needs as much room as the journal.
    """
    try:
        with watch_session(path) as session:
            return work(session)
    except JournalDamaged as error:
        _LOG.warning("%s", error)
    directory = RunDirectory.open(path)
    with tempfile.TemporaryDirectory(prefix="pop-salvage-") as folder:
        whole = Path(folder) / "run.db"
        _LOG.warning("%d finished episodes can still be read", salvage(directory.journal_path, whole))
        with Journal.open_to_read(whole) as journal:
            directory.refuse_edited(journal)
            return work(Session(directory, journal, directory.domain()))


def _check_start(config: RunConfig) -> None:
    """Refuse before synthesis a start that training would refuse after it: LoRA matrices without their weights."""
    start = weights_of(config.model) if config.training.trains else None
    if start is not None:
        refuse_adapter(start)
