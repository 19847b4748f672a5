"""What a run made, in the formats that others train on: written here, each format in `formats.py`."""

from collections.abc import Iterator
from pathlib import Path

from pop_selfplay.errors import UsageError
from pop_selfplay.exports.formats import FORMATS, ExportedProblem, PairFormat, ProblemFormat
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.pairs import read_pairs, write_rows
from pop_selfplay.pairing import paired, pairs_of
from pop_selfplay.rewards.scoring import sound
from pop_selfplay.runs.session import Session, read_session


def named(name: str) -> PairFormat | ProblemFormat:
    """Return the format called `name`. Raises UsageError for any other name."""
    if name not in FORMATS:
        raise UsageError(f"unknown export format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def export_run(directory: Path, out: Path, format_: PairFormat | ProblemFormat) -> int:
    """Write the run in `directory` to `out` (.jsonl or .parquet) and return how many rows there were.

    Pairs come from pairs.parquet, or else, as in a run that was stopped, from the episodes that are finished; problems always
    from those. The folder of `out` is made where it is missing. Raises UsageError when no episode is finished, the file has a
    suffix that the format does not know, or its folder cannot be made.
    """
    if out.suffix.lower() not in format_.suffixes:
        raise UsageError(f"{out.name!r} has the wrong suffix for this format: use one of {', '.join(format_.suffixes)}")
    pairs = RunDirectory.open(directory).pairs_path
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out.parent} ({error.strerror}): name another one") from error
    if isinstance(format_, PairFormat) and pairs.is_file():  # not a look at the journal, which may be damaged
        return write_rows(map(format_.row, read_pairs(pairs)), out, format_.schema)

    def write(session: Session) -> int:
        if not session.journal.tally.episodes:
            raise UsageError(f"{directory} has no finished episode yet: continue with `pop run {directory}`")
        if isinstance(format_, PairFormat):
            return write_rows(
                map(format_.row, pairs_of(session.journal, session.domain, session.config, session.config.rounds)),
                out,
                format_.schema,
            )
        return write_rows(map(format_.row, _problems(session)), out, format_.schema)

    return read_session(directory, write)


def _problems(session: Session) -> Iterator[ExportedProblem]:
    """Yield the problems of all finished episodes that online RL can use, in their order."""
    config = session.config
    made = paired(session.journal, config.rounds, session.domain, config.pairing, config.seed)
    for place, found in enumerate(sound(made)):
        problem, rubric = found.graded
        prompt = session.domain.render("solve", problem=problem.text)
        yield ExportedProblem(place, problem, rubric, prompt, session.domain.name, found.episode.round)
