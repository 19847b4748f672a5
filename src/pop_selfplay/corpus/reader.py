"""Every kind of corpus as one stream of documents: files (`files.py`), Hugging Face datasets (`hugging_face.py`),
pocket."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pop_selfplay.config import CorpusConfig, FilesCorpus, HuggingFaceCorpus, PocketCorpus
from pop_selfplay.corpus.files import read_files
from pop_selfplay.corpus.hugging_face import read_hugging_face
from pop_selfplay.corpus.rows import Entry
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
