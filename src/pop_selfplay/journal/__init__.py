"""The run directory: what was done, durably, so that nothing finished is ever done again.

    journal.py   SQLite in WAL mode: one row per model call and per finished episode
    tally.py     running counts of calls, tokens and episodes, for live views and status
    rundir.py    the directory itself: resolved config, lock, file names
    export.py    preference pairs to and from Parquet and JSONL

A new thing to remember gets a table in journal.py; a new file of a run gets its name in rundir.py.
"""

from pop_selfplay.journal.journal import CallKey, Journal, StoredCall
from pop_selfplay.journal.rundir import RunDirectory
from pop_selfplay.journal.tally import Tally

__all__ = ["CallKey", "Journal", "RunDirectory", "StoredCall", "Tally"]
