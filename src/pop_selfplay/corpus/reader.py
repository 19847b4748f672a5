"""Every kind of corpus as one stream of documents: files (`files.py`), the pocket world, and Hugging Face datasets."""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pop_selfplay.config import CorpusConfig, FilesCorpus, HuggingFaceCorpus, PocketCorpus
from pop_selfplay.corpus.files import read_files
from pop_selfplay.corpus.rows import PROVENANCE, Entry, to_entry
from pop_selfplay.errors import CorpusError, MissingExtra
from pop_selfplay.extras import need
from pop_selfplay.records import Document


@dataclass(frozen=True, slots=True)
class Corpus:
    """All of a corpus as a stream of entries. Every iteration reads it again from the beginning."""

    config: CorpusConfig

    def __iter__(self) -> Iterator[Entry]:
        match self.config:
            case FilesCorpus() as config:
                return read_files(config)
            case HuggingFaceCorpus() as config:
                return read_hugging_face(config)
            case PocketCorpus() as config:
                return _read_pocket(config)


def read_documents(config: CorpusConfig) -> Corpus:
    """Return every document of the corpus, and a `Skipped` with its reason for everything that is not one.

    Document ids depend on where a document stands in its corpus (or on its id field), never on the order of reading.
    Raises CorpusError, while iterating, when the corpus does not exist or cannot be opened.
    """
    return Corpus(config)


def _read_pocket(config: PocketCorpus) -> Iterator[Document]:
    """Yield `editions` differently worded articles for each self-play plant of the pocket world."""
    from pop_selfplay.pocket.world import World  # here, so that other corpora do not build the world

    world = World()
    for name in world.self_play:
        for edition in range(config.editions):
            rng = random.Random(f"{name}/{edition}")
            yield Document(id=f"{name}/{edition}", title=name, text=world.document(name, rng), source="pocket")


def read_hugging_face(config: HuggingFaceCorpus) -> Iterator[Entry]:
    """Yield the rows of one split. Without an id field, ids are the split's name and the row number from 0: `train/17`.

    Raises CorpusError for a dataset, config, split or column that does not exist, and when reading breaks off; MissingExtra.
    """
    read = 0
    try:
        for row in _rows(config):
            row_id = f"{config.split}/{read}"
            read += 1
            yield to_entry(row, config, row_id=row_id, source=config.path, place=f"{config.path}/{row_id}")
    except (CorpusError, MissingExtra):
        raise
    except Exception as error:  # the library and each of its readers have errors of their own
        name = "" if config.name is None else f", config {config.name!r}"
        raise CorpusError(
            f"cannot read dataset {config.path!r}{name}, split {config.split!r}, after {read} rows: {error}\n{_advice(error)}"
        ) from error


_ADVICE: Final = (
    (
        r"^Couldn't cast|column names don't match|changed from .* to|cannot mix|The features can't be aligned",
        "Its files, or parts of them, differ in columns or types, but the library only takes datasets of one type. Name the "
        "files themselves with corpus.type files (JSON and Parquet are read row by row, rows without a text are counted), or "
        "select files of one type with corpus.name.",
    ),
    (
        "scripts are no longer supported",
        "It needs its own loading script, which is not run. Use a Parquet copy of it: corpus.revision "
        "refs/convert/parquet if the hub has one, or files that the script wrote, with corpus.type files.",
    ),
    (
        "JSON parse error|Failed to parse string|CSV parse error|Parquet magic bytes",
        "One of its files is damaged. corpus.type files with the same folder counts and names what cannot be read, and takes "
        "the rest of JSON and Parquet.",
    ),
    ("", "Check corpus.path, name, split and revision, and that the hub or the folder can be reached."),
)
"""Words of the library → what to do about it; the first that fits. A new cause goes before the last."""


def _advice(error: Exception) -> str:
    said = str(error)
    return next(advice for words, advice in _ADVICE if re.search(words, said))


def _rows(config: HuggingFaceCorpus) -> Iterable[Mapping[str, object]]:
    """Return the rows, with the configured columns alone where the dataset knows its columns."""
    need("hub", "corpus.type hugging_face")
    import datasets

    if (Path(config.path) / "state.json").is_file():
        dataset = datasets.load_from_disk(config.path)
    elif (Path(config.path) / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(config.path)
        if config.split not in splits:
            raise ValueError(f"its splits are {sorted(splits)}")
        dataset = splits[config.split]
    else:
        dataset = datasets.load_dataset(config.path, config.name, split=config.split, revision=config.revision, streaming=True)
    return _columns(dataset, config)


def _columns(dataset: Any, config: HuggingFaceCorpus) -> Iterable[Mapping[str, object]]:
    wanted = [field for field in (config.text_field, config.title_field, config.id_field) if field is not None]
    known = dataset.column_names
    if known is not None:
        missing = [field for field in wanted if field not in known]
        if missing:
            raise CorpusError(
                f"dataset {config.path!r} has no column {missing[0]!r}; its columns are {sorted(known)}: "
                "correct corpus.text_field, title_field or id_field"
            )
        dataset = dataset.select_columns(list(dict.fromkeys([*wanted, *(field for field in PROVENANCE if field in known)])))
    rows: Iterable[Mapping[str, object]] = dataset
    return rows
