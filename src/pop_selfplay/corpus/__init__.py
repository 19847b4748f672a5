"""Documents in: read them (`reader.py`), choose them and split them by round (`sampling.py`).

    entries = read_documents(config.corpus)
    choice = choose(entries, seed=config.seed, count=4096, filter=config.filter)

Reading is streamed and choosing keeps only what it may choose, so a corpus can be far larger than memory. A text that
cannot be used is a `Skipped` with a reason, and is counted. Files come from `discovery.py` (this machine and URLs,
compressed or not); JSON of every shape, and benchmark files for the contamination check, are read by `rows.py`.

A new source of documents gets a file beside `files.py`, a config type and a line in `reader.py`; a new ground for
dropping a document goes into `sampling.py`, its arithmetic into `text/`.
"""

from pop_selfplay.corpus.reader import read_documents
from pop_selfplay.corpus.rows import Entry, Skipped, read_benchmarks
from pop_selfplay.corpus.sampling import ChosenDocuments, SplitDocuments, choose, split_documents

__all__ = [
    "ChosenDocuments",
    "Entry",
    "Skipped",
    "SplitDocuments",
    "choose",
    "read_benchmarks",
    "read_documents",
    "split_documents",
]
