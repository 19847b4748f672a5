"""`pop view` and `pop label`: look at the episodes of a run in a browser, while it runs, and say what you think of them.

    index.py      view.db beside the run: one row an episode, to search, filter and sort
    indexer.py    the thread that fills it
    reading.py    one episode with everything around it, read from run.db alone; its prompts, filled again
    rendering.py  Markdown, formulas and word differences of foreign texts as HTML that can do nothing
    pages.py      what each page shows, and the labels that a filled form gives
    compare.py    two runs side by side
    app.py        the server: routes, and what it lets in and out

Nothing here writes to run.db. A new page is a function in pages.py, a template, and a route in app.py.
"""
