"""More than one machine: the documents of a run in shards, which are played anywhere and become one run.

    shards.py   a shard of a run as a run directory of its own, and the one run that they are merged into

An episode depends on its document and the run's seed alone, so it is the same wherever it is played. Whatever looks at several
episodes (pairs, problems that nearly repeat each other, figures, decisions) is derived afterwards from the whole.
"""
