"""The run directory: what was done, durably, so that nothing finished is ever done again.

    journal.py    one row per model call and per finished episode
    schema.py     the SQLite tables, a call as a row, and how the file is opened to write or to read
    notes.py      what is noted under a key, with its type
    tally.py      counts of calls, tokens and episodes, for live views and status
    directory.py  the directory itself: resolved config, lock, file names
    files.py      atomic writes, locks, and what goes wrong on a disk, in words
    salvage.py    what a damaged journal still holds
    pairs.py      preference pairs, and rows of any kind, to Parquet and JSONL, and pairs from them

A new thing to remember gets a table in schema.py or a kind of note in notes.py; a new file of a run its name in directory.py.
"""

from pop_selfplay.journal.directory import RunDirectory
from pop_selfplay.journal.journal import Journal
from pop_selfplay.journal.schema import CallKey, StoredCall
from pop_selfplay.journal.tally import Spent, Tally

__all__ = ["CallKey", "Journal", "RunDirectory", "Spent", "StoredCall", "Tally"]
