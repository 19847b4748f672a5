"""What a run made, in the formats that others train on (the dataset's card: `card.py`).

| format | rows | for |
| --- | --- | --- |
| trl | preference pairs | trl.DPOTrainer, as pairs.parquet has them |
| openai | preference pairs | OpenAI's preference fine-tuning, method `dpo` |
| grpo | problems with their rubrics | trl.GRPOTrainer, scored by `pop_selfplay.reward` |
| verl | problems with their rubrics | verl's RLHFDataset |
| verifiers | problems with their rubrics | an environment of verifiers |
| labels | what people said of answers, rubrics and problems | whoever compares them |

A new format is a function, its columns and a line in `FORMATS`, at the end. docs/exports.md shows how each is used.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from pop_selfplay.errors import UsageError
from pop_selfplay.exports.card import Counted, render
from pop_selfplay.extras import hub_errors, need
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.journal.pairs import MESSAGES, SCHEMA, SUFFIXES, read_pairs, row_of, write_rows
from pop_selfplay.labels import Label, read
from pop_selfplay.pairing import paired, pairs_of
from pop_selfplay.records import Message, PreferencePair, Problem, Rubric
from pop_selfplay.rewards.scoring import sound
from pop_selfplay.runs.session import Session, read_session
from pop_selfplay.text.fencing import storable

LABELS: Final = "labels"
BOTH: Final = tuple(SUFFIXES)
JSON_LINES: Final = (".jsonl",)


class ExportedProblem(NamedTuple):
    """A problem with its rubric (None where answers are verified) and the conversation that asks it, the `place`-th of all.

    `license`, `url` and `source` are what its document says of where it comes from.
    """

    place: int
    problem: Problem
    rubric: Rubric | None
    prompt: tuple[Message, ...]
    domain: str
    round: int
    license: str = ""
    url: str = ""
    source: str = ""


class PairFormat(NamedTuple):
    """Rows of preference pairs. `suffixes` are those of the files that can hold it."""

    row: Callable[[PreferencePair], dict[str, object]]
    schema: pa.Schema
    suffixes: tuple[str, ...] = BOTH


class ProblemFormat(NamedTuple):
    """Rows of problems with their rubrics."""

    row: Callable[[ExportedProblem], dict[str, object]]
    schema: pa.Schema
    suffixes: tuple[str, ...] = BOTH


def plain(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Return a conversation as others store it."""
    return [{"role": message.role, "content": storable(message.content)} for message in messages]


def plain_rubric(rubric: Rubric) -> dict[str, object]:
    """Return a rubric as plain data, as `pop_selfplay.reward` reads it back."""
    told = (criterion.model_dump().items() for criterion in rubric.criteria)
    return {"criteria": [{name: storable(v) if isinstance(v, str) else v for name, v in items} for items in told]}


def rubric_json(rubric: Rubric | None) -> str:
    """Return a rubric as JSON text, "" where there is none."""
    return "" if rubric is None else json.dumps(plain_rubric(rubric), ensure_ascii=False)


def provenance(asked: ExportedProblem) -> dict[str, str]:
    """Return what its document says of where it comes from."""
    return {"license": storable(asked.license), "url": storable(asked.url), "source": storable(asked.source)}


OPENAI: Final = pa.schema([("input", pa.null()), ("preferred_output", MESSAGES), ("non_preferred_output", MESSAGES)])


def openai_row(pair: PreferencePair) -> dict[str, object]:
    """Return one line, with nothing beside what OpenAI reads. Reasoning stays in the answers, as in pairs.parquet.

    Source: platform.openai.com/docs/guides/direct-preference-optimization.
    """
    return {
        "input": {"messages": plain(pair.prompt), "tools": [], "parallel_tool_calls": True},
        "preferred_output": plain(pair.chosen),
        "non_preferred_output": plain(pair.rejected),
    }


GRPO: Final = pa.schema(
    [
        ("prompt", MESSAGES),
        ("problem", pa.string()),
        ("rubric", pa.string()),
        ("reference_answer", pa.string()),
        ("problem_id", pa.string()),
        ("document_id", pa.string()),
        ("domain", pa.string()),
        ("round", pa.int64()),
        ("license", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
    ]
)


def grpo_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. `rubric` is JSON; the reference answer is for looking at, not for training."""
    return {
        "prompt": plain(asked.prompt),
        "problem": storable(asked.problem.text),
        "rubric": rubric_json(asked.rubric),
        "reference_answer": storable(asked.problem.reference_answer),
        "problem_id": storable(asked.problem.id),
        "document_id": storable(asked.problem.document_id),
        "domain": storable(asked.domain),
        "round": asked.round,
        **provenance(asked),
    }


_EXTRA: Final = ("problem_id", "problem", "reference_answer", "license", "url", "source")
VERL: Final = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", MESSAGES),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct([("split", pa.string()), ("index", pa.int64()), *((name, pa.string()) for name in _EXTRA)]),
        ),
    ]
)


def verl_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. Its rubric is the ground truth that verl's reward manager hands to `compute_score`.

    The style says that a function scores the answers, and not one of verl's reward models. Source: verl.readthedocs.io,
    "Prepare Data for Post-Training".
    """
    return {
        "data_source": storable(f"pop/{asked.domain}"),
        "prompt": plain(asked.prompt),
        "ability": storable(asked.domain),
        "reward_model": {"style": "rule", "ground_truth": rubric_json(asked.rubric)},
        "extra_info": {
            "split": "train",
            "index": asked.place,
            "problem_id": storable(asked.problem.id),
            "problem": storable(asked.problem.text),
            "reference_answer": storable(asked.problem.reference_answer),
            **provenance(asked),
        },
    }


VERIFIERS: Final = pa.schema(
    [("prompt", MESSAGES), ("answer", pa.string()), ("info", pa.string()), ("task", pa.string())],
)


def verifiers_row(asked: ExportedProblem) -> dict[str, object]:
    """Return one row. `info` holds problem_id, problem and rubric, which the reward looks for, and the provenance."""
    info = {
        "problem_id": storable(asked.problem.id),
        "problem": storable(asked.problem.text),
        "rubric": None if asked.rubric is None else plain_rubric(asked.rubric),
        **provenance(asked),
    }
    return {
        "prompt": plain(asked.prompt),
        "answer": storable(asked.problem.reference_answer),
        "info": json.dumps(info, ensure_ascii=False),
        "task": storable(f"pop/{asked.domain}"),
    }


FORMATS: Final[dict[str, PairFormat | ProblemFormat]] = {
    "trl": PairFormat(row_of, SCHEMA),
    "grpo": ProblemFormat(grpo_row, GRPO),
    "verl": ProblemFormat(verl_row, VERL),
    "verifiers": ProblemFormat(verifiers_row, VERIFIERS),
    "openai": PairFormat(openai_row, OPENAI, JSON_LINES),
}


def named(name: str) -> PairFormat | ProblemFormat:
    """Return the format called `name`. Raises UsageError for any other name."""
    if name not in FORMATS:
        raise UsageError(f"unknown export format {name!r}: choose one of {', '.join(FORMATS)}, {LABELS}")
    return FORMATS[name]


def export_run(directory: Path, out: Path, name: str, push_to_hub: str | None = None) -> int:
    """Write the run in `directory` to `out` (.jsonl or .parquet) in the format `name`; return how many rows there were.

    Pairs come from pairs.parquet, or else, as in a run that was stopped, from the episodes that are finished; problems always
    from those. The folder of `out` is made where it is missing, and the dataset card is written beside it (`card_path`). With
    `push_to_hub`, owner/name, both are uploaded, and the cards of the run's models name that dataset. Raises UsageError for no
    finished episode, a suffix that the format does not know, a folder that cannot be made, and a hub that refuses.
    """
    if name == LABELS and push_to_hub is not None:
        raise UsageError("labels are no training data and are not uploaded: leave out --push-to-hub")
    suffixes = FORMATS["trl"].suffixes if name == LABELS else named(name).suffixes
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"{out.name!r} has the wrong suffix for this format: use one of {', '.join(suffixes)}")
    if push_to_hub is not None:
        need("hub", "--push-to-hub")
    run = RunDirectory.open(directory)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out.parent} ({error.strerror}): name another one") from error
    if name == LABELS:
        return _export_labels(run.path, out)
    format_ = named(name)
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
        link_models(run, push_to_hub)
    return counted.rows


def _export_labels(run: Path, out: Path) -> int:
    """Write what people said of the run, one row for each label that counts. There is no card: it is no training data."""
    kinds = {"candidate": pa.int64(), "other": pa.int64(), "rating": pa.int64()}
    schema = pa.schema([(field, kinds.get(field, pa.string())) for field in Label.model_fields])
    rows = ({k: storable(v) if isinstance(v, str) else v for k, v in label.model_dump().items()} for label in read(run))
    return write_rows(rows, out, schema)


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

    def upload_file(self, *, path_or_fileobj: Path, path_in_repo: str, repo_id: str, commit_message: str) -> Any:
        """Upload one file to a model repository."""


def push(out: Path, card: str, repository: str, hub: DatasetHub | None = None) -> None:
    """Upload `out` with its card, as one commit, to the dataset `repository` (owner/name), private when it is new.

    `hub` stands in for the real one in tests. Raises MissingExtra, and UsageError when the hub cannot be reached or refuses.
    """
    need("hub", "--push-to-hub")
    from huggingface_hub import HfApi

    hub = hub or HfApi()
    with tempfile.TemporaryDirectory(prefix="pop-upload-", dir=out.parent) as folder:
        (Path(folder) / out.name).hardlink_to(out)
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")
        try:
            hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            said = f"{out.name}, made with pop"
            hub.upload_folder(repo_id=repository, repo_type="dataset", folder_path=Path(folder), commit_message=said)
        except hub_errors() as error:
            do = "check the name, `hf auth login` and the network, then run the same command again"
            raise UsageError(f"{out} is written, but could not be uploaded to {repository}: {error}; {do}") from error


def link_models(run: RunDirectory, repository: str, hub: DatasetHub | None = None) -> None:
    """Let the cards of the run's models name the dataset `repository`, on the hub too. Raises UsageError when that refuses."""
    from huggingface_hub import HfApi

    cards, model, said = run.note_uploaded(repository), run.config.training.repository, f"Trained on {repository}"
    if model is None or not cards:
        return
    try:
        (hub or HfApi()).upload_file(path_or_fileobj=cards[-1], path_in_repo="README.md", repo_id=model, commit_message=said)
    except hub_errors() as error:
        do = f"do it by hand: hf upload {model} {cards[-1]} README.md"
        raise UsageError(f"{repository} is uploaded, but the card of {model} could not be replaced: {error}; {do}") from error
