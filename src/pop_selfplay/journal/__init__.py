"""The run directory: what was done, durably, so that nothing finished is ever done again.

    journal.py   one row per model call and per finished episode
    schema.py    the SQLite tables, and how the file is opened to write or to read
    probabilities.py  the tokens of a call as one text, where their probabilities were asked for
    tally.py     counts of calls, tokens and episodes, for live views and status
    rundir.py    the directory itself: resolved config, lock, file names
    lock.py      one process at a time
    fork.py      a new run that takes over the calls of another one
    salvage.py   what a damaged journal still holds
    trouble.py   full disks, read-only places, foreign locks and damage, in words
    replacing.py files written whole or not at all
    export.py    preference pairs, and rows of any kind, to Parquet and JSONL, and pairs from them

A new thing to remember gets a table in schema.py; a new file of a run gets its name in rundir.py.
"""

from pop_selfplay.journal.directory import RunDirectory
from pop_selfplay.journal.journal import CallKey, Journal, StoredCall
from pop_selfplay.journal.tally import Spent, Tally

__all__ = ["CallKey", "Journal", "RunDirectory", "Spent", "StoredCall", "Tally"]
