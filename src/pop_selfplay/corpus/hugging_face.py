"""Documents from a Hugging Face dataset: by hub name or local path, streamed, or as `save_to_disk` wrote it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pop_selfplay.config import HuggingFaceCorpus
from pop_selfplay.corpus.rows import Entry, to_entry
from pop_selfplay.errors import CorpusError


def read_hugging_face(config: HuggingFaceCorpus) -> Iterator[Entry]:
    """Yield the rows of one split. Without an id field, ids are the split's name and the row number from 0: `train/17`.

    Raises CorpusError when the dataset, its config, split or a configured column does not exist, and when reading
    breaks off.
    """
    read = 0
    try:
        for row in _rows(config):
            row_id = f"{config.split}/{read}"
            read += 1
            yield to_entry(row, config, row_id=row_id, source=config.path, place=f"{config.path}/{row_id}")
    except CorpusError:
        raise
    except Exception as error:  # the library and each of its readers have errors of their own
        name = "" if config.name is None else f", config {config.name!r}"
        raise CorpusError(
            f"cannot read dataset {config.path!r}{name}, split {config.split!r}, after {read} rows: {error}\n"
            "Check corpus.path, name, split and revision, and that the hub or the folder can be reached."
        ) from error


def _rows(config: HuggingFaceCorpus) -> Iterable[Mapping[str, object]]:
    """Return the rows, with the configured columns alone where the dataset knows its columns."""
    import datasets

    if (Path(config.path) / "state.json").is_file():
        dataset = datasets.load_from_disk(config.path)
    elif (Path(config.path) / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(config.path)
        if config.split not in splits:
            raise ValueError(f"it has the splits {sorted(splits)}")
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
                f"dataset {config.path!r} has no column {missing[0]!r}; it has {sorted(known)}: "
                "correct corpus.text_field, title_field or id_field"
            )
        dataset = dataset.select_columns(list(dict.fromkeys(wanted)))
    rows: Iterable[Mapping[str, object]] = dataset
    return rows
