"""The run directory: it explains itself, belongs to one process at a time, and is only ever added to.

config.yaml      the resolved config, every default written out
domain.json      the domain's prompts and rules, as the run began with them
versions.json    what made it: package, Python and library versions
run.lock         held by the process that works on the run
run.db           the journal
summary.db       a summary of each finished episode, for the figures (report/result.py)
pairs.parquet    the preference pairs of all rounds so far
models/round-N/  the model trained in round N
servers/         logs of the servers that the run started
result.json      the figures
uploaded.json    the dataset repository that the run's export was uploaded to
report.html      the same, to look at
"""

import difflib
import functools
import importlib.metadata
import json
import platform
import re
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import yaml
from pydantic import ValidationError

from pop_selfplay.config import RunConfig, changed_settings, dump_config, load_config, parse_config
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.errors import ConfigError, JournalDamaged, JournalError, validation_text
from pop_selfplay.journal.files import explain, is_locked, take_lock, write_atomically
from pop_selfplay.journal.journal import Journal

_CONFIG: Final = "config"
"""The note of the config that the run goes by: config.yaml lies open to every editor."""
FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
"""What the hub reads of a card."""
PAIRS: Final = "pairs"
"""Row of a model's card that says where the pairs are that it was trained on."""
_VERSIONED: Final = ("pop-selfplay", "torch", "transformers", "trl", "datasets", "pydantic")


class RunDirectory:
    """One run on disk. `create` makes or reopens it for a config, `open` reopens it by its own config."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """Make the directory for `config`, or reopen it when it was made for one that asks for the same work.

        What `config` says about where, how fast and for how much (`RunConfig.same_work`) replaces what the run said; the whole
        of it does while no model has answered, so that a config that could not start can be corrected.
        Raises ConfigError with the difference when it holds a run of another config, JournalError when it cannot be written.
        """
        stored = path / "config.yaml"
        if stored.exists():
            run = cls(path, config)
            run._refuse_other_work()
            return run
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(not _ours(entry) for entry in path.iterdir()):
                raise ConfigError(f"{path} is not empty and has no run (no config.yaml): choose an empty or new directory")
        except OSError as error:
            raise explain(error, path, "make the run directory") from error
        write_atomically(path / "versions.json", json.dumps(_versions(), indent=1) + "\n")
        write_atomically(stored, dump_config(config))
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run. Raises ConfigError when `path` holds none."""
        if not path.exists():
            raise ConfigError(f"there is no run directory {path}: check the name")
        if not (path / "config.yaml").is_file():
            raise ConfigError(f"{path} is not a run directory: it {'has no config.yaml' if path.is_dir() else 'is a file'}")
        return cls(path, load_config(path / "config.yaml"))

    @property
    def domain_path(self) -> Path:
        return self.path / "domain.json"

    @property
    def pairs_path(self) -> Path:
        return self.path / "pairs.parquet"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def _uploaded_path(self) -> Path:
        return self.path / "uploaded.json"

    @property
    def uploaded(self) -> str:
        """The dataset repository (owner/name) that the run was last exported to, "" where it was to none."""
        try:
            return str(json.loads(self._uploaded_path.read_text(encoding="utf-8"))["dataset"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # nothing that a run is lost for: the cards of its models then name no dataset

    def note_uploaded(self, repository: str) -> list[Path]:
        """Remember that dataset repository for the cards of models to come, name it in those there are, and return these."""
        write_atomically(self._uploaded_path, json.dumps({"dataset": repository}) + "\n")
        cards = [self.model_path(round_) / "README.md" for round_ in range(1, self.config.rounds + 1)]
        cards = [card for card in cards if card.is_file()]
        for card in cards:
            write_atomically(card, name_dataset(card.read_text(encoding="utf-8"), repository))
        return cards

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    def model_path(self, round_: int) -> Path:
        """Where the model trained in `round_` lies once it is finished."""
        return self.path / "models" / f"round-{round_}"

    @property
    def servers_path(self) -> Path:
        """Where the logs of servers go that the run starts."""
        return self.path / "servers"

    @property
    def journal_path(self) -> Path:
        return self.path / "run.db"

    @property
    def _lock_path(self) -> Path:
        return self.path / "run.lock"

    def worked_on(self) -> bool:
        """Tell whether a process works on the run now."""
        return is_locked(self._lock_path)

    def journal(self) -> Journal:
        """Open the journal to write; only who holds the directory may. `Journal.open_to_read` is for everybody else."""
        return Journal.open(self.journal_path)

    def domain(self) -> Domain:
        """Return the domain as the run began with it; as it is now where that was not kept."""
        return self._kept_domain() or load_domain(self.config.domain)

    def keep_domain(self, now: Domain | None) -> Domain:
        """Keep the domain in the directory, `now` or the one of the config, and return what the run goes by.

        Raises ConfigError when the run began with another one than `now`.
        """
        kept = self._kept_domain()
        if kept is None or (now is not None and now != kept and not self.begun()):
            domain = now or load_domain(self.config.domain)
            write_atomically(self.domain_path, domain.model_dump_json(indent=1))
            return domain
        if now is not None and now != kept:
            raise ConfigError(
                f"the prompts of domain {kept.name!r} have changed since the run in {self.path} began: continue with the old "
                f"ones with `pop run {self.path}`, or use a new run directory for the changed ones"
            )
        return kept

    def _kept_domain(self) -> Domain | None:
        if not self.domain_path.is_file():
            return None
        try:
            return Domain.model_validate_json(self.domain_path.read_bytes())
        except ValidationError as error:
            raise JournalError(
                f"{self.domain_path} is damaged ({validation_text(error)}): write it back from a copy; if domain "
                f"{self.config.domain!r} is still as it was when the run began, remove the file, and it is written again"
            ) from error
        except OSError as error:
            raise explain(error, self.domain_path, "read") from error

    def begun(self) -> bool:
        """Tell whether anything here was made by a model: calls, episodes or models. Else the config may still change."""
        if (self.path / "models").exists():
            return True
        with Journal.open_to_read(self.journal_path) as journal:
            return journal.begun

    def __enter__(self) -> "RunDirectory":
        """Take the directory for this process and store the config as it is now. Raises JournalError when another has it."""
        self._lock = take_lock(self._lock_path)
        try:
            self._refuse_other_work()  # another process may have begun the run since this one looked
            self._take_config()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_config(self) -> None:
        """Store the current config. If it asks for other results, documents will be chosen anew."""
        stored = RunDirectory.open(self.path).config
        if not (self._noted_config() or stored).same_work(self.config):
            with self.journal() as journal:
                journal.forget_documents()
        if stored != self.config:
            write_atomically(self.path / "config.yaml", dump_config(self.config))

    def _refuse_other_work(self) -> None:
        stored = RunDirectory.open(self.path).config
        begun_with = self._noted_config() or stored
        if begun_with.same_work(self.config) or not self.begun():
            return
        if stored.same_work(self.config):
            raise ConfigError(self._edited(begun_with))
        raise ConfigError(
            f"{self.path} belongs to a run with another config; give this one its own directory, with "
            f"--fork-from {self.path} to reuse every call that is unchanged. "
            f"The difference:\n{_difference(begun_with, self.config)}"
        )

    def note_config(self, journal: Journal) -> None:
        """Note the config in the journal, so that an edit of config.yaml is found out."""
        text = self.config.model_dump_json()
        if journal.noted(_CONFIG) != text:
            journal.note(_CONFIG, text)

    def refuse_edited(self, journal: Journal) -> None:
        """Raise ConfigError when config.yaml asks for another work than what the journal was made with."""
        noted = _read_config(journal)
        if noted is not None and not noted.same_work(self.config) and journal.begun:
            raise ConfigError(self._edited(noted))

    def _edited(self, noted: RunConfig) -> str:
        file, changes = self.path / "config.yaml", changed_settings(noted, self.config)
        return (
            f"{file} was edited after the run began: {'; '.join(changes)}. Restore the old values, or start another run "
            f"with the new ones: `pop run {file} --fork-from {self.path} --out NEW` reuses every call that is unchanged"
        )

    def _noted_config(self) -> RunConfig | None:
        try:
            with Journal.open_to_read(self.journal_path) as journal:
                return _read_config(journal)
        except JournalDamaged:
            return None  # whoever needs the journal says so; `pop pairs` saves what it still holds


def _read_config(journal: Journal) -> RunConfig | None:
    noted = journal.noted(_CONFIG)
    return None if noted is None else parse_config(json.loads(noted), f"the config noted in {journal.path}")


def _ours(entry: Path) -> bool:
    """Tell whether `entry` may lie in a directory whose making was cut short."""
    return entry.name == "versions.json" or (entry.name.startswith(".") and entry.name.endswith(".tmp"))


def _difference(old: RunConfig, new: RunConfig) -> str:
    lines = difflib.unified_diff(
        dump_config(old).splitlines(), dump_config(new).splitlines(), "the run", "now", lineterm="", n=1
    )
    return "\n".join(lines)


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def name_dataset(card: str, repository: str) -> str:
    """Return a model's card that also names the dataset `repository` (owner/name): for the hub, and for people in `PAIRS`.

    A card that somebody has written anew, without front matter or that row, is left as it is there.
    """
    match = FRONT_MATTER.match(card)
    if match is None:
        return card
    front = yaml.safe_load(match[1])
    front["datasets"] = list(dict.fromkeys([*front.get("datasets", ()), repository]))
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    row = f"| {PAIRS} | {pairs_place(repository)} |"
    return f"---\n{text}---\n" + re.sub(rf"^\| {PAIRS} \|.*$", lambda _: row, card[match.end() :], count=1, flags=re.MULTILINE)


def pairs_place(repository: str) -> str:
    """Return what a model's card says of where its pairs are: the dataset `repository`, or how to write them where it is ""."""
    return f"https://huggingface.co/datasets/{repository}" if repository else "`pop export`, with a card of their own"
