"""What a run made, in the formats that others train on: written here, each format in `formats.py`, its card in `card.py`."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pop_selfplay.errors import UsageError
from pop_selfplay.exports.card import Counted, render
from pop_selfplay.exports.formats import FORMATS, ExportedProblem, PairFormat, ProblemFormat, provenance
from pop_selfplay.extras import need
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.pairs import read_pairs, write_rows
from pop_selfplay.pairing import paired, pairs_of
from pop_selfplay.records import PreferencePair
from pop_selfplay.rewards.scoring import sound
from pop_selfplay.runs.session import Session, read_session


def named(name: str) -> PairFormat | ProblemFormat:
    """Return the format called `name`. Raises UsageError for any other name."""
    if name not in FORMATS:
        raise UsageError(f"unknown export format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def export_run(directory: Path, out: Path, name: str, push_to_hub: str | None = None) -> int:
    """Write the run in `directory` to `out` (.jsonl or .parquet) in the format `name`; return how many rows there were.

    Pairs come from pairs.parquet, or else, as in a run that was stopped, from the episodes that are finished; problems always
    from those. The folder of `out` is made where it is missing, and the dataset card is written beside it (`card_path`). With
    `push_to_hub`, owner/name, both are uploaded. Raises UsageError for no finished episode, a suffix that the format does not
    know, a folder that cannot be made, and a hub that refuses.
    """
    format_ = named(name)
    if out.suffix.lower() not in format_.suffixes:
        raise UsageError(f"{out.name!r} has the wrong suffix for this format: use one of {', '.join(format_.suffixes)}")
    if push_to_hub is not None:
        need("hub", "--push-to-hub")
    run = RunDirectory.open(directory)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out.parent} ({error.strerror}): name another one") from error
    counted = Counted()
    if isinstance(format_, PairFormat) and run.pairs_path.is_file():  # not a look at the journal, which may be damaged
        write_rows(_pair_rows(read_pairs(run.pairs_path), format_, counted), out, format_.schema)
        name_of_run = directory.resolve().name
    else:
        name_of_run = read_session(directory, lambda session: _write(session, out, format_, counted))
    card = render(name_of_run, run.config, name, counted, out.name)
    write_atomically(card_path(out), card)
    if push_to_hub is not None:
        push(out, card, push_to_hub)
    return counted.rows


def card_path(out: Path) -> Path:
    """Return where the card of the export `out` lies: pairs.parquet has pairs.card.md; on the hub it is README.md."""
    return out.with_suffix(".card.md")


def _write(session: Session, out: Path, format_: PairFormat | ProblemFormat, counted: Counted) -> str:
    path = session.directory.path
    if not session.journal.tally.episodes:
        raise UsageError(f"{path} has no finished episode yet: continue with `pop run {path}`")
    if isinstance(format_, PairFormat):
        pairs = pairs_of(session.journal, session.domain, session.config, session.config.rounds)
        write_rows(_pair_rows(pairs, format_, counted), out, format_.schema)
    else:
        write_rows(_problem_rows(session, format_, counted), out, format_.schema)
    return path.resolve().name


def _pair_rows(pairs: Iterable[PreferencePair], format_: PairFormat, counted: Counted) -> Iterator[dict[str, object]]:
    for pair in pairs:
        said = {"license": pair.license, "url": pair.url, "source": pair.source}
        counted.note(pair.document_id, said, (pair.chosen_score, pair.rejected_score))
        yield format_.row(pair)


def _problem_rows(session: Session, format_: ProblemFormat, counted: Counted) -> Iterator[dict[str, object]]:
    for asked in _problems(session):
        counted.note(asked.problem.document_id, provenance(asked))
        yield format_.row(asked)


def _problems(session: Session) -> Iterator[ExportedProblem]:
    """Yield the problems of all finished episodes that online RL can use, in their order."""
    config = session.config
    made = paired(session.journal, config.rounds, session.domain, config.pairing, config.seed)
    for place, found in enumerate(sound(made)):
        problem, rubric = found.graded
        prompt = session.domain.render("solve", problem=problem.text)
        document = session.journal.document(found.episode.round, problem.document_id)
        said = (document.license, document.url, document.origin)
        yield ExportedProblem(place, problem, rubric, prompt, session.domain.name, found.episode.round, *said)


class DatasetHub(Protocol):
    """The part of `huggingface_hub.HfApi` that is used."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any:
        """Make a repository, or take the one that is there as it is."""

    def upload_folder(self, *, repo_id: str, repo_type: str, folder_path: Path, commit_message: str) -> Any:
        """Upload every file of a folder as one commit."""


def push(out: Path, card: str, repository: str, hub: DatasetHub | None = None) -> None:
    """Upload `out` with its card, as one commit, to the dataset `repository` (owner/name), private when it is new.

    `hub` stands in for the real one in tests. Raises MissingExtra, and UsageError when the hub cannot be reached or refuses.
    """
    need("hub", "--push-to-hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = hub or HfApi()
    with tempfile.TemporaryDirectory(prefix="pop-upload-", dir=out.parent) as folder:
        (Path(folder) / out.name).hardlink_to(out)
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")
        try:
            hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            said = f"{out.name}, made with pop"
            hub.upload_folder(repo_id=repository, repo_type="dataset", folder_path=Path(folder), commit_message=said)
        except (OSError, HfHubHTTPError, HFValidationError) as error:
            do = "check the name, `hf auth login` and the network, then run the same command again"
            raise UsageError(f"{out} is written, but could not be uploaded to {repository}: {error}; {do}") from error
